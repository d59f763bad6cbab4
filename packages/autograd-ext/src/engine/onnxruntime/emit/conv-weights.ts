import { bytesOf, integers, intsOf, node, producerOf, type Value } from '../graph/graph.js';

/**
 * Whether a session should hold a second copy of a convolution's weight, rearranged for speed: if the weight is small,
 * or if it is used at many positions of the image. The layers with the smallest images have the largest weights.
 * @param positions the image at whose positions the weight is applied, `[B, C, H, W]`
 */
export function isWorthACopy(weight: Value, { shape: [batch, , height, width] }: Value): boolean {
  return batch! * height! * width! >= 1024 || bytesOf(weight) <= 2 ** 22;
}

/**
 * The weight of a convolution's input gradient, `[in, out, kh, kw]`: input and output channels swapped, kernel rotated
 * 180°.
 */
export function rotatedWeight(weight: Value): Value {
  const [outputs, inputs, kh, kw] = weight.shape as [number, number, number, number];
  const swapped = node('Transpose', [weight], [inputs, outputs, kh, kw], {
    attributes: { perm: { ints: swapChannels } },
  });
  const slices = reversal(kh, kw).map(integers);
  return kh * kw === 1 ? swapped : node('Slice', [swapped, ...slices], swapped.shape);
}

/** Undoes `rotatedWeight`: returns the frozen weight, or undefined if the value is no rotated weight. */
export function weightBeforeRotation(value: Value): Value | undefined {
  const slice = producerOf(value);
  const swapped = producerOf(slice?.inputs[0]);
  const weight = swapped?.inputs[0];
  if (slice?.op !== 'Slice' || swapped?.op !== 'Transpose' || weight?.source.kind !== 'weight') return undefined;
  const isSwap = intsOf(swapped, 'perm')?.join() === swapChannels.join();
  const [kh, kw] = value.shape.slice(2) as [number, number];
  const isReversal = reversal(kh, kw).every((expected, i) => constantIntegers(slice.inputs[i + 1]) === expected.join());
  return isSwap && isReversal ? weight : undefined;
}

const swapChannels = [1, 0, 2, 3];

/** Starts, ends, axes and steps of the ONNX slice that reverses rows and columns. */
const reversal = (kh: number, kw: number): readonly number[][] => [
  [-1, -1],
  [-kh - 1, -kw - 1],
  [2, 3],
  [-1, -1],
];

const constantIntegers = (value: Value | undefined): string | undefined =>
  value?.source.kind === 'constant' && typeof value.source.data !== 'number' ? value.source.data.join() : undefined;
