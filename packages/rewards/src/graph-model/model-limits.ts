import { excerptJson, table } from '@alignprop/autograd-ext/outside';

/**
 * The most numbers of one value of a model for one image: 1 GiB of float32. The largest activation of VGG-19, on 224 ×
 * 224 pixels, has 2^22.
 */
const MAX_ELEMENTS = 2 ** 28;
/** The most pixels across an input: no image that is trained on has more. */
const MAX_SIDE = 2 ** 14;

/** Checks the shape of a model's input: images are resized to it. @throws if it has more pixels than images have */
export function checkInputShape(location: string, shape: readonly number[]): void {
  const isSize = (size: number) => size === -1 || (Number.isInteger(size) && size > 0 && size <= MAX_SIDE);
  if (shape.every(isSize) && isWithin(shape)) return;
  throw new Error(
    `graphModel: '${location}' takes the shape ${excerptJson(shape)}, expected sizes from 1 to ${MAX_SIDE}, ` +
      `or -1, and at most ${MAX_ELEMENTS} numbers.`,
  );
}

/** Whether a value of this shape is at most 1 GiB; sizes that are not known, and counts below 2, are left out. */
export const isWithin = (shape: readonly (number | null)[]): boolean =>
  shape.reduce<number>((product, size) => product * Math.max(1, size ?? 1), 1) <= MAX_ELEMENTS;

/** @throws an error for a value of a model that is too large to compute */
export function refuseSize(location: string, name: string, sizes: readonly unknown[]): never {
  throw new Error(
    `graphModel: '${name}' of '${location}' got the sizes ${excerptJson(sizes)}, ` +
      `expected at most ${MAX_ELEMENTS} numbers. Check that it is the model that you mean.`,
  );
}

/** Numbers of layers that enlarge an image by more than a weight tells, and the most that networks for images have. */
const layerRanges = table({
  padding: 2 ** 10, // pixels; large kernels have a tenth of it
  size: 2 ** 6, // factors of upsampling; usually 2
  n: 2 ** 16, // repetitions of a vector: one for each token of a text
});

/** Checks the numbers in the configuration of a model's layers. @throws if one is out of its range */
export function checkLayerNumbers(location: string, config: unknown): void {
  if (typeof config !== 'object' || config === null) return;
  for (const [key, value] of Object.entries(config)) {
    const most = Array.isArray(config) ? undefined : layerRanges[key];
    const numbers = most === undefined ? [] : [value].flat(3).filter((item) => typeof item === 'number');
    if (numbers.some((number) => !(number >= 0 && number <= most!)))
      throw new Error(
        `graphModel: ${key} of a layer of '${location}' got ${excerptJson(value)}, expected 0 to ${most}. ` +
          'Save the model again with tfjs.',
      );
    checkLayerNumbers(location, value);
  }
}

/** The inputs of nodes whose values are sizes of their outputs, by operation: the index among the node's inputs. */
export const sizeInputs = table({
  BroadcastTo: 1,
  Conv2DBackpropInput: 0,
  Fill: 0,
  MirrorPad: 1,
  OneHot: 1,
  Pad: 1,
  PadV2: 1,
  Range: 1,
  ResizeBilinear: 1,
  ResizeNearestNeighbor: 1,
  Tile: 1,
});
