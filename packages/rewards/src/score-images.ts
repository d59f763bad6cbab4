import { dispose, tensor4d, unstack, type Tensor3D, type Tensor4D } from '@tensorflow/tfjs-core';
import { isTensor, type Engine, checkOptions } from '@alignprop/autograd-ext';
import { rewardName } from './returned-scores.js';
import { RewardScorer, type BatchScores } from './reward-scorer.js';
import type { BlackBoxReward, RewardFunction } from './reward.js';

/** An RGB image: bytes in 0 … 255, or floats in [0, 1]. */
export interface Pixels {
  /** `[height, width, 3]`, row by row */
  readonly data: Uint8Array | Uint8ClampedArray | Float32Array;
  readonly height: number;
  readonly width: number;
}

/** Pixels, or a float32 tensor `[H, W, 3]` in [0, 1], which the caller disposes. */
export type ScorableImage = Pixels | Tensor3D;

export interface ScoreImagesOptions<M = unknown> {
  /** The prompts of the images: one text for all, or one an image. Empty by default. */
  readonly prompts?: string | readonly string[];
  /** The prompts' metadata, one an image. */
  readonly metadata?: readonly M[];
  /**
   * Compiles a `ModelReward` and reads its weights. Without an engine the reward is called directly, and must be
   * loaded (`loadReward`).
   */
  readonly engine?: Engine;
}

/** Scores and terms, in the order of the images. */
export interface ImageScores {
  readonly scores: Float32Array;
  /** The reward's terms by name, such as those of a `weightedSum`. */
  readonly terms: Readonly<Record<string, Float32Array>>;
}

/**
 * Scores images one by one, so that their sizes may differ. The reward needs no gradient. Checks the values of all
 * images before it scores the first; rewards themselves read no values.
 * @param images at least one, or a tensor `[B, H, W, 3]` in [0, 1]
 * @throws if an image is not RGB, or has a value that is NaN or out of range (the error names image, row, column and
 *   channel); if the number of prompts or metadata is not that of images; if a score is not finite
 */
export async function scoreImages<M = unknown>(
  reward: RewardFunction<M> | BlackBoxReward<M>,
  images: readonly ScorableImage[] | Tensor4D,
  { prompts = '', metadata, engine, ...others }: ScoreImagesOptions<M> = {},
): Promise<ImageScores> {
  checkOptions('scoreImages', others, ['prompts', 'metadata', 'engine']);
  const pixels = await readImages(images);
  const texts = typeof prompts === 'string' ? pixels.map(() => prompts) : prompts;
  checkCount('prompts', texts, pixels.length);
  if (metadata) checkCount('metadata', metadata, pixels.length);
  const scorer = new RewardScorer(reward, engine);
  const rows: BatchScores[] = [];
  for (const [i, { data, height, width }] of pixels.entries()) {
    const image = tensor4d(data, [1, height, width, 3]);
    const row = await scorer.score(image, [texts[i]!], [metadata?.[i] as M]).finally(() => image.dispose());
    rows.push(row);
    if (!Number.isFinite(row.scores[0]))
      throw new Error(
        `scoreImages: the score of image ${i} got ${row.scores[0]}, expected a finite number. ` +
          `The image is finite, so ${rewardName(reward)} computed it.`,
      );
  }
  return {
    scores: Float32Array.from(rows, ({ scores }) => scores[0]!),
    terms: Object.fromEntries(
      Object.keys(rows[0]!.terms).map((term) => [term, Float32Array.from(rows, ({ terms }) => terms[term]![0]!)]),
    ),
  };
}

interface FloatImage {
  readonly data: Float32Array;
  readonly height: number;
  readonly width: number;
}

async function readImages(images: readonly ScorableImage[] | Tensor4D): Promise<FloatImage[]> {
  if (!isTensor(images)) {
    if (images.length === 0) throw new Error('scoreImages: images got none, expected at least one.');
    return Promise.all(images.map(readImage));
  }
  if (images.rank !== 4)
    throw new Error(`scoreImages: images got shape [${images.shape}], expected [B, H, W, 3] or a list of images.`);
  const list = unstack(images) as Tensor3D[];
  return Promise.all(list.map(readImage)).finally(() => dispose(list));
}

async function readImage(image: ScorableImage, index: number): Promise<FloatImage> {
  const { data, height, width } = isTensor(image) ? await readTensor(image, index) : image;
  if (!(height > 0 && width > 0) || data.length !== height * width * 3) {
    const hint = data.length === height * width * 4 ? 'Leave the alpha channel out.' : 'Give RGB values, row by row.';
    throw new Error(
      `scoreImages: image ${index} got ${data.length} values for ${height}×${width} pixels, ` +
        `expected three a pixel. ${hint}`,
    );
  }
  if (!(data instanceof Float32Array)) return { data: Float32Array.from(data, (byte) => byte / 255), height, width };
  const bad = data.findIndex((value) => !(value >= 0 && value <= 1)); // true for NaN
  if (bad >= 0)
    throw new Error(
      `scoreImages: image ${index}, ${position(bad, width)}, got ${data[bad]}, expected a number from 0 to 1. ` +
        advice(data[bad]!),
    );
  return { data, height, width };
}

async function readTensor(image: Tensor3D, index: number): Promise<Pixels> {
  const [height, width, channels] = image.shape;
  if (image.rank !== 3 || channels !== 3)
    throw new Error(`scoreImages: image ${index} got shape [${image.shape}], expected [H, W, 3], channels last.`);
  if (image.dtype !== 'float32')
    throw new Error(
      `scoreImages: image ${index} got ${image.dtype} values, expected float32 from 0 to 1. ` +
        "For bytes: div(cast(image, 'float32'), 255).",
    );
  return { data: await image.data<'float32'>(), height, width };
}

const position = (index: number, width: number): string =>
  `row ${Math.floor(index / 3 / width)}, column ${Math.floor(index / 3) % width}, ` +
  ['red', 'green', 'blue'][index % 3]!;

const advice = (value: number): string => {
  if (!Number.isFinite(value)) return 'Look for the computation that made it.';
  return value > 1
    ? 'Divide bytes by 255, or give them as a Uint8Array.'
    : 'Images in [-1, 1] are x · 0.5 + 0.5 in [0, 1].';
};

function checkCount(what: string, list: readonly unknown[], expected: number): void {
  if (list.length !== expected)
    throw new Error(`scoreImages: ${what} got ${list.length}, expected ${expected}, one an image.`);
}
