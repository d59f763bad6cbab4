import { dispose, tensor4d, unstack, type Tensor, type Tensor3D, type Tensor4D } from '@tensorflow/tfjs-core';
import { isTensor, type Compiled, type Engine, type ModelFunction } from '@alignprop/autograd-ext';
import { detailed, isModelReward, type RewardFunction } from './reward.js';

/** An RGB image, row by row: bytes from 0 to 255, or floats from 0 to 1. */
export interface Pixels {
  /** `[height, width, 3]` */
  readonly data: Uint8Array | Uint8ClampedArray | Float32Array;
  readonly height: number;
  readonly width: number;
}

/** Pixels, or a float32 tensor `[H, W, 3]` in [0, 1], which stays the caller's. */
export type ScorableImage = Pixels | Tensor3D;

export interface ScoreImagesOptions<M = unknown> {
  /** What the images are to show: one text for all, or one an image. Empty by default. */
  readonly prompts?: string | readonly string[];
  /** One an image. */
  readonly metadata?: readonly M[];
  /**
   * Runs a reward that is had in parts, and reads its weights. Without one the reward is called, and has to be loaded.
   */
  readonly engine?: Engine;
}

/** Scores in the order of the images. */
export interface ImageScores {
  readonly scores: Float32Array;
  /** What the reward says besides, by name: each term of a `weightedSum`, for one. */
  readonly terms: Readonly<Record<string, Float32Array>>;
}

/**
 * Scores images, which may differ in size, one after the other. What is wrong with an image is found before any is
 * scored; rewards themselves never look at values.
 * @param images at least one, or a tensor `[B, H, W, 3]` in [0, 1]
 * @throws if an image is not RGB, has a value that is NaN or out of range (the error names image, row, column and
 *   channel), or if there are not as many prompts or metadata as images; if a score is not finite
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
  const judge = judgeOf(reward, engine);
  const columns = Array.from({ length: 1 + terms.length }, () => new Float32Array(pixels.length));
  for (const [i, { data, height, width }] of pixels.entries()) {
    const values = await firstValues(tensor4d(data, [1, height, width, 3]), (image) =>
      judge(image, [texts[i]!], [metadata?.[i] as M]),
    );
    columns.forEach((column, j) => (column[i] = values[j]!));
    if (!Number.isFinite(columns[0]![i]))
      throw new Error(
        `scoreImages: the score of image ${i} got ${columns[0]![i]}, expected a finite number. The image is finite, so it comes from the reward.`,
      );
  }
  return { scores: columns[0]!, terms: Object.fromEntries(terms.map((term, j) => [term, columns[j + 1]!])) };
}

/** Of every output; the image is freed. */
async function firstValues(
  image: Tensor4D,
  judge: (image: Tensor4D) => ReturnType<Judge<unknown>>,
): Promise<readonly number[]> {
  try {
    const outputs = await judge(image);
    const values = await Promise.all(outputs.map((output) => output.data()));
    dispose([...outputs]);
    return values.map(([first]) => first!);
  } finally {
    image.dispose();
  }
}

type Judge<M> = (
  image: Tensor4D,
  prompts: readonly string[],
  metadata: readonly M[],
) => readonly Tensor[] | Promise<readonly Tensor[]>;

function judgeOf<M>(reward: RewardFunction<M>, engine?: Engine): Judge<M> {
  if (!engine || !isModelReward(reward)) return (...args) => detailed(reward).outputs(...args);
  const { model } = reward;
  const run = compiled(engine, model.score);
  return async (image, prompts, metadata) => {
    const inputs = model.inputs?.(prompts, metadata) ?? [];
    return run(model.params, image, ...inputs).finally(() => dispose([...inputs]));
  };
}

const compiledScores = new WeakMap<Engine, WeakMap<ModelFunction, Compiled>>();

/** Compiled once for an engine, however often images are scored. */
function compiled(engine: Engine, score: ModelFunction): Compiled {
  const known = compiledScores.get(engine) ?? new WeakMap<ModelFunction, Compiled>();
  compiledScores.set(engine, known);
  const run = known.get(score) ?? engine.compile(score);
  known.set(score, run);
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
      `scoreImages: image ${index} got ${data.length} values for ${height}×${width} pixels, expected three a pixel. ${hint}`,
    );
  }
  if (!(data instanceof Float32Array)) return { data: Float32Array.from(data, (byte) => byte / 255), height, width };
  const bad = data.findIndex((value) => !(value >= 0 && value <= 1)); // NaN is neither
  if (bad >= 0)
    throw new Error(
      `scoreImages: image ${index}, ${place(bad, width)}, got ${data[bad]}, expected a number from 0 to 1. ${advice(data[bad]!)}`,
    );
  return { data, height, width };
}

async function readTensor(image: Tensor3D, index: number): Promise<Pixels> {
  const [height, width, channels] = image.shape;
  if (image.rank !== 3 || channels !== 3)
    throw new Error(`scoreImages: image ${index} got shape [${image.shape}], expected [H, W, 3], channels last.`);
  if (image.dtype !== 'float32')
    throw new Error(
      `scoreImages: image ${index} got ${image.dtype} values, expected float32 from 0 to 1. For bytes: div(cast(image, 'float32'), 255).`,
    );
  return { data: await image.data<'float32'>(), height, width };
}

const place = (at: number, width: number): string =>
  `row ${Math.floor(at / 3 / width)}, column ${Math.floor(at / 3) % width}, ${['red', 'green', 'blue'][at % 3]}`;

const advice = (value: number): string => {
  if (!Number.isFinite(value)) return 'Find out what made it.';
  return value > 1
    ? 'Divide bytes by 255, or give them as a Uint8Array.'
    : 'Images in [-1, 1] are x · 0.5 + 0.5 in [0, 1].';
};

function checkCount(what: string, list: readonly unknown[], expected: number): void {
  if (list.length !== expected)
    throw new Error(`scoreImages: ${what} got ${list.length}, expected ${expected}, one an image.`);
}
