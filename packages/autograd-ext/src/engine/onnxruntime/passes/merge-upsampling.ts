import { isWorthACopy, rotatedWeight, weightBeforeRotation } from '../emit/conv-weights.js';
import { integers, intsOf, node, producerOf, type GraphNode, type Value } from '../graph/graph.js';
import { replaceNodes } from '../graph/replace-values.js';

/**
 * Merges nearest-neighbour upsampling by 2 into the 3×3 convolution of a frozen weight that follows it, and likewise
 * their gradients.
 *
 * After upsampling, every 2×2 square of the image holds one pixel, so a 3×3 convolution multiplies this pixel by
 * several weights. With the sums of these weights the result is four 2×2 convolutions of the small image, one for each
 * position in the square: 4/9 of the multiplications. The gradient of the small image becomes one 4×4 convolution at
 * stride 2.
 */
export const mergeUpsampling = (outputs: readonly Value[]): Value[] =>
  replaceNodes(outputs, (candidate) => mergedConv(candidate) ?? mergedGradient(candidate));

/** Matches conv3×3(upsample2×2(small)). */
function mergedConv(conv: GraphNode): Value | undefined {
  if (!isThreeByThree(conv)) return undefined;
  const [x, weight, bias] = conv.inputs as [Value, Value, Value?];
  const small = beforeUpsampling(x);
  return small && weight.source.kind === 'weight' && isWorthACopy(weight, conv.outputs[0]!)
    ? convOfSums(small, weight, bias)
    : undefined;
}

/**
 * Matches 4 · averagePool2×2(conv3×3(dy, rotated weight)): each small pixel sums up the gradients of its 2×2 square.
 */
function mergedGradient(sum: GraphNode): Value | undefined {
  const pool = producerOf(sum.inputs[0]);
  if (sum.op !== 'Mul' || !isPoolOfSquares(pool) || !isFour(sum.inputs[1]!)) return undefined;
  const conv = producerOf(pool.inputs[0]);
  if (!conv || !isThreeByThree(conv)) return undefined;
  const [dy, kernel] = conv.inputs as [Value, Value];
  const weight = weightBeforeRotation(kernel);
  return weight && gradientOfSums(dy, weight);
}

/** Whether a node is a plain 3×3 convolution: stride 1, padding 1, no groups, no dilation. */
function isThreeByThree(conv: GraphNode): boolean {
  const has = (name: string, ints: readonly number[]) => intsOf(conv, name)?.join() === ints.join();
  return (
    conv.op === 'Conv' &&
    has('kernel_shape', [3, 3]) &&
    has('pads', [1, 1, 1, 1]) &&
    (!conv.attributes.strides || has('strides', [1, 1])) &&
    !conv.attributes.group &&
    !conv.attributes.dilations
  );
}

/** Whether a node averages non-overlapping 2×2 squares. */
const isPoolOfSquares = (pool: GraphNode | undefined): pool is GraphNode =>
  pool?.op === 'AveragePool' &&
  intsOf(pool, 'kernel_shape')?.join() === '2,2' &&
  intsOf(pool, 'strides')?.join() === '2,2' &&
  !pool.attributes.pads;

const isFour = ({ source, shape }: Value): boolean =>
  shape.length === 0 && source.kind === 'constant' && typeof source.data !== 'number' && source.data[0] === 4;

/** The input of a nearest-neighbour upsampling by 2; undefined if the value is no such image. */
function beforeUpsampling({ source, shape }: Value): Value | undefined {
  if (source.kind !== 'node' || source.node.op !== 'Resize') return undefined;
  const small = source.node.inputs[0]!;
  return shape[2] === 2 * small.shape[2]! && shape[3] === 2 * small.shape[3]! ? small : undefined;
}

/**
 * The convolution of the upsampled image, computed from the small one.
 * @param x `[B, in, H, W]`
 * @param weight frozen, `[out, in, 3, 3]`
 * @returns `[B, out, 2H, 2W]`
 */
function convOfSums(x: Value, weight: Value, bias: Value | undefined): Value {
  const [batch, , height, width] = x.shape as [number, number, number, number];
  const outputs = weight.shape[0]!;
  const sums = sumsOfNeighbours(weight);
  const positions = [0, 1].flatMap((row) =>
    [0, 1].map((column) => {
      const attributes = { kernel_shape: { ints: [2, 2] }, pads: { ints: [1 - row, 1 - column, row, column] } };
      const kernel = everySecond(sums, row, column);
      return node('Conv', bias ? [x, kernel, bias] : [x, kernel], [batch, outputs, height, width], { attributes });
    }),
  );
  const stacked = node('Concat', positions, [batch, 4 * outputs, height, width], { attributes: { axis: { int: 1 } } });
  return node('DepthToSpace', [stacked], [batch, outputs, 2 * height, 2 * width], {
    attributes: { blocksize: { int: 2 }, mode: { string: 'DCR' } },
  });
}

/**
 * The gradient of the small image: a 4×4 convolution at stride 2.
 * @param dy `[B, out, 2H, 2W]`
 * @param weight frozen, `[out, in, 3, 3]`
 * @returns `[B, in, H, W]`
 */
function gradientOfSums(dy: Value, weight: Value): Value {
  const [batch, , height, width] = dy.shape as [number, number, number, number];
  const kernel = rotatedWeight(sumsOfNeighbours(weight));
  const attributes = { kernel_shape: { ints: [4, 4] }, strides: { ints: [2, 2] }, pads: { ints: [1, 1, 1, 1] } };
  return node('Conv', [dy, kernel], [batch, weight.shape[1]!, height / 2, width / 2], { attributes });
}

/** `[…, 3, 3]` to `[…, 4, 4]`: w0, w0 + w1, w1 + w2, w2 along both axes. */
const sumsOfNeighbours = (weight: Value): Value => [2, 3].reduce(sumsAlong, weight);

function sumsAlong(x: Value, axis: number): Value {
  const shape = x.shape.map((size, i) => (i === axis ? size + 1 : size));
  const shifted = (by: number) => {
    const pads = [...x.shape.map((_, i) => (i === axis ? by : 0)), ...x.shape.map((_, i) => (i === axis ? 1 - by : 0))];
    return node('Pad', [x, integers(pads)], shape);
  };
  return node('Add', [shifted(0), shifted(1)], shape);
}

/** Rows and columns 0 and 2 of a 4×4 kernel, or 1 and 3. */
function everySecond(kernel: Value, row: number, column: number): Value {
  const [starts, ends, axes, steps] = [
    [row, column],
    [4, 4],
    [2, 3],
    [2, 2],
  ].map(integers) as [Value, Value, Value, Value];
  return node('Slice', [kernel, starts, ends, axes, steps], [...kernel.shape.slice(0, 2), 2, 2]);
}
