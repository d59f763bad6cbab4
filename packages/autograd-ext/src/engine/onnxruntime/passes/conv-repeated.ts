// A convolution by 3×3 of an image whose pixels are repeated 2×2 meets each pixel of the small image under two or more
// weights. With the sums of these it is four convolutions by 2×2 of the small image, one for each place within a square
// of repeated pixels: 4/9 of the products.
import { integers, node, type Value } from '../graph/graph.js';

/** What an image was before its pixels were repeated 2×2 (by nodes of resize.ts), if it was. */
export function beforeRepeating({ source, shape }: Value): Value | undefined {
  if (source.kind !== 'node' || source.node.op !== 'Resize') return undefined;
  const small = source.node.inputs[0]!;
  return shape[2] === 2 * small.shape[2]! && shape[3] === 2 * small.shape[3]! ? small : undefined;
}

/** Of the gradients of such convolutions' inputs, what they are made of. */
export const inputGradients = new WeakMap<Value, { readonly dy: Value; readonly weight: Value }>();

/** Whether a convolution is of the kind that this file knows. */
export const isThreeByThree = (weight: Value, stride: number, pads: readonly number[]): boolean =>
  weight.source.kind === 'weight' &&
  weight.shape[2] === 3 &&
  weight.shape[3] === 3 &&
  stride === 1 &&
  pads.every((n) => n === 1);

/**
 * The convolution, of the small image.
 * @param x `[B, in, H, W]`
 * @param weight frozen, `[out, in, 3, 3]`
 * @returns `[B, out, 2H, 2W]`
 */
export function convRepeated(x: Value, weight: Value, bias: Value | undefined): Value {
  const [batch, , height, width] = x.shape as [number, number, number, number];
  const outputs = weight.shape[0]!;
  const sums = sumsOfWeights(weight);
  const places = [0, 1].flatMap((row) =>
    [0, 1].map((column) => {
      const attributes = { kernel_shape: { ints: [2, 2] }, pads: { ints: [1 - row, 1 - column, row, column] } };
      const kernel = everySecond(sums, row, column);
      return node('Conv', bias ? [x, kernel, bias] : [x, kernel], [batch, outputs, height, width], { attributes });
    }),
  );
  const together = node('Concat', places, [batch, 4 * outputs, height, width], { attributes: { axis: { int: 1 } } });
  return node('DepthToSpace', [together], [batch, outputs, 2 * height, 2 * width], {
    attributes: { blocksize: { int: 2 }, mode: { string: 'DCR' } },
  });
}

/**
 * The gradient of the small image: a convolution at every second place.
 * @param dy `[B, out, 2H, 2W]`
 * @param weight frozen, `[out, in, 3, 3]`
 * @returns `[B, in, H, W]`
 */
export function convRepeatedGrad(dy: Value, weight: Value): Value {
  const [batch, , height, width] = dy.shape as [number, number, number, number];
  const kernel = turnedKernel(sumsOfWeights(weight));
  const attributes = { kernel_shape: { ints: [4, 4] }, strides: { ints: [2, 2] }, pads: { ints: [1, 1, 1, 1] } };
  return node('Conv', [dy, kernel], [batch, weight.shape[1]!, height / 2, width / 2], { attributes });
}

/** The kernel of the gradient, `[in, out, kh, kw]`: turned by half a turn, inputs and outputs exchanged. */
export function turnedKernel(weight: Value): Value {
  const [outputs, inputs, kh, kw] = weight.shape as [number, number, number, number];
  const exchanged = node('Transpose', [weight], [inputs, outputs, kh, kw], {
    attributes: { perm: { ints: [1, 0, 2, 3] } },
  });
  const [starts, ends, axes] = [
    [-1, -1],
    [-kh - 1, -kw - 1],
    [2, 3],
  ].map(integers) as [Value, Value, Value];
  return kh * kw === 1 ? exchanged : node('Slice', [exchanged, starts, ends, axes, starts], exchanged.shape);
}

/** `[…, 3, 3]` to `[…, 4, 4]`: along each axis w0, w0 + w1, w1 + w2, w2. */
const sumsOfWeights = (weight: Value): Value => [2, 3].reduce(withNeighbours, weight);

function withNeighbours(x: Value, axis: number): Value {
  const shape = x.shape.map((size, i) => (i === axis ? size + 1 : size));
  const moved = (by: number) => {
    const pads = [...x.shape.map((_, i) => (i === axis ? by : 0)), ...x.shape.map((_, i) => (i === axis ? 1 - by : 0))];
    return node('Pad', [x, integers(pads)], shape);
  };
  return node('Add', [moved(0), moved(1)], shape);
}

/** Rows and columns 0 and 2 of a kernel of 4×4, or 1 and 3. */
function everySecond(kernel: Value, row: number, column: number): Value {
  const [starts, ends, axes, steps] = [
    [row, column],
    [4, 4],
    [2, 3],
    [2, 2],
  ].map(integers) as [Value, Value, Value, Value];
  return node('Slice', [kernel, starts, ends, axes, steps], [...kernel.shape.slice(0, 2), 2, 2]);
}
