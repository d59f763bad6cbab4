import { dispose, tensor4d, unstack, type Tensor, type Tensor3D, type Tensor4D } from '@tensorflow/tfjs-core';
import { isTensor, type Compiled, type Engine, type ModelFunction } from '@alignprop/autograd-ext';
import { detailed, isModelReward, type RewardFunction } from './reward.js';

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
 * Scores images one by one, so that their sizes may differ. Checks the values of all images before it scores the
 * first; rewards themselves read no values.
 * @param images at least one, or a tensor `[B, H, W, 3]` in [0, 1]
 * @throws if an image is not RGB, or has a value that is NaN or out of range (the error names image, row, column and
 *   channel); if the number of prompts or metadata is not that of images; if a score is not finite
 */
export async function scoreImages<M = unknown>(
  reward: RewardFunction<M>,
  images: readonly ScorableImage[] | Tensor4D,
  { prompts = '', metadata, engine }: ScoreImagesOptions<M> = {},
): Promise<ImageScores> {
  const pixels = await readImages(images);
  const texts = typeof prompts === 'string' ? pixels.map(() => prompts) : prompts;
  checkCount('prompts', texts, pixels.length);
  if (metadata) checkCount('metadata', metadata, pixels.length);
  const { terms } = detailed(reward);
  const evaluate = evaluation(reward, engine);
  const columns = Array.from({ length: 1 + terms.length }, () => new Float32Array(pixels.length));
  for (const [i, { data, height, width }] of pixels.entries()) {
    const values = await firstValues(tensor4d(data, [1, height, width, 3]), (image) =>
      evaluate(image, [texts[i]!], [metadata?.[i] as M]),
    );
    columns.forEach((column, j) => (column[i] = values[j]!));
    if (!Number.isFinite(columns[0]![i]))
      throw new Error(
        `scoreImages: the score of image ${i} got ${columns[0]![i]}, expected a finite number. ` +
          'The image is finite, so the reward computed it.',
      );
  }
  return { scores: columns[0]!, terms: Object.fromEntries(terms.map((term, j) => [term, columns[j + 1]!])) };
}

/** Evaluates a batch of one image and reads the value of each output. Disposes the image and the outputs. */
async function firstValues(
  image: Tensor4D,
  evaluate: (image: Tensor4D) => ReturnType<Evaluate<unknown>>,
): Promise<readonly number[]> {
  try {
    const outputs = await evaluate(image);
    const values = await Promise.all(outputs.map((output) => output.data()));
    dispose([...outputs]);
    return values.map(([first]) => first!);
  } finally {
    image.dispose();
  }
}

/** Computes the scores and terms of a batch. */
type Evaluate<M> = (
  image: Tensor4D,
  prompts: readonly string[],
  metadata: readonly M[],
) => readonly Tensor[] | Promise<readonly Tensor[]>;

function evaluation<M>(reward: RewardFunction<M>, engine?: Engine): Evaluate<M> {
  if (!engine || !isModelReward(reward)) return (...args) => detailed(reward).outputs(...args);
  const { model } = reward;
  const run = compiled(engine, model.score);
  return async (image, prompts, metadata) => {
    const inputs = model.inputs?.(prompts, metadata) ?? [];
    return run(model.params, image, ...inputs).finally(() => dispose([...inputs]));
  };
}

const compiledScores = new WeakMap<Engine, WeakMap<ModelFunction, Compiled>>();

/** Compiles a score function, once for each engine. */
function compiled(engine: Engine, score: ModelFunction): Compiled {
  const ofEngine = compiledScores.get(engine) ?? new WeakMap<ModelFunction, Compiled>();
  compiledScores.set(engine, ofEngine);
  const run = ofEngine.get(score) ?? engine.compile(score);
  ofEngine.set(score, run);
  return run;
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
