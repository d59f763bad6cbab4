import { elementCount } from '../../../params.js';
import { cast, mul, sub } from '../emit/builders.js';
import { constant, integers, intsOf, node, producerOf, type GraphNode, type Value } from '../graph/graph.js';
import { reshaped } from '../recorder/view.js';

/** A number below all pixels, by which a zero can be multiplied. */
const border = -3e38;

/**
 * The gradient of a max pool of images without positions of maxima: cuts out the windows by a convolution with a
 * channel for each position, and adds the gradients by its transpose.
 * @returns undefined for other operators
 */
export function scatteredByWindows({ op, inputs, outputs }: GraphNode): Value | undefined {
  if (op !== 'ScatterElements') return undefined;
  const positions = producerOf(inputs[1])?.inputs[0];
  const pool = producerOf(positions);
  if (pool?.op !== 'MaxPool' || pool.inputs[0]!.shape.length !== 4) return undefined;
  const [batch, channels, height, width] = pool.inputs[0]!.shape as [number, number, number, number];
  const planes = batch * channels;
  const [kh, kw] = intsOf(pool, 'kernel_shape') as [number, number];
  const counts = positions!.shape.slice(2);
  const shape = [planes, kh * kw, ...counts];
  const { pads, ...attributes } = pool.attributes;
  const isMaximum = equals(windowsOf(pool, shape), reshaped(maximaOf(pool), [planes, 1, ...counts]));
  const earlier = node('Conv', [isMaximum, earlierOnes(kh * kw)], shape, {
    attributes: { kernel_shape: { ints: [1, 1] } },
  });
  const first = node('Relu', [sub(isMaximum, earlier)], shape);
  const shares = mul(first, reshaped(inputs[2]!, [planes, 1, ...counts]));
  const missing = missingPixels(pool, [height, width], counts);
  const sums = node('ConvTranspose', [shares, cutter(kh, kw)], [planes, 1, height, width], {
    attributes: { ...attributes, ...(pads && { pads }), output_padding: { ints: missing } },
  });
  return reshaped(sums, [elementCount(outputs[0]!.shape)]);
}

const maximaOf = ({ inputs, attributes, outputs: [maxima] }: GraphNode): Value =>
  node('MaxPool', inputs, maxima!.shape, { attributes });

/** The pixels of each window as channels, `[planes, kh · kw, rows, columns]`. */
function windowsOf(pool: GraphNode, shape: readonly number[]): Value {
  const [, , height, width] = pool.inputs[0]!.shape as [number, number, number, number];
  const [kh, kw] = intsOf(pool, 'kernel_shape') as [number, number];
  const [top, left, bottom, right] = intsOf(pool, 'pads') as [number, number, number, number];
  const images = reshaped(pool.inputs[0]!, [shape[0]!, 1, height, width]);
  const padded = node(
    'Pad',
    [images, integers([0, 0, top, left, 0, 0, bottom, right]), constant(Float32Array.of(border), [])],
    [shape[0]!, 1, height + top + bottom, width + left + right],
  );
  const { pads: _, ...attributes } = pool.attributes;
  return node('Conv', [padded, cutter(kh, kw)], shape, { attributes });
}

/** A kernel with a channel for each position of the window, which is one there. */
const cutter = (kh: number, kw: number): Value =>
  constant(
    matrix(kh * kw, (row, column) => row === column),
    [kh * kw, 1, kh, kw],
  );

/** A kernel that adds up the channels before each channel. */
const earlierOnes = (count: number): Value =>
  constant(
    matrix(count, (row, column) => column < row),
    [count, count, 1, 1],
  );

const matrix = (size: number, isOne: (row: number, column: number) => boolean): Float32Array =>
  Float32Array.from({ length: size * size }, (_, i) => Number(isOne(Math.floor(i / size), i % size)));

const equals = (a: Value, b: Value): Value => cast(node('Equal', [a, b], a.shape, { dtype: 'bool' }), 'float32');

/** The pixels behind the last window, by axis. */
const missingPixels = (pool: GraphNode, extent: readonly number[], counts: readonly number[]): number[] =>
  extent.map((n, i) => {
    const [size, stride, dilation] = ['kernel_shape', 'strides', 'dilations'].map(
      (name) => intsOf(pool, name)?.[i] ?? 1,
    );
    const pads = intsOf(pool, 'pads')!;
    return n + pads[i]! + pads[i + 2]! - ((counts[i]! - 1) * stride! + (size! - 1) * dilation! + 1);
  });
