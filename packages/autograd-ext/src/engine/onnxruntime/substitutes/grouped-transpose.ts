import { constant, integers, intsOf, node, type GraphNode, type Value } from '../graph/graph.js';
import { reshaped } from '../recorder/view.js';
import { transpose } from '../emit/builders.js';

/**
 * A transposed convolution of groups as a convolution of groups: of the input with zeros between its pixels, with the
 * reversed kernel.
 * @returns undefined for other operators, and without groups
 */
export function groupedTranspose(candidate: GraphNode): Value | undefined {
  const { op, inputs, attributes, outputs } = candidate;
  if (op !== 'ConvTranspose' || !attributes.group) return undefined;
  const [x, weight] = inputs as [Value, Value];
  const { int: groups } = attributes.group as { int: number };
  const { shape } = outputs[0]!;
  const size = weight.shape.slice(2);
  const dilations = intsOf(candidate, 'dilations') ?? size.map(() => 1);
  const before = intsOf(candidate, 'pads') ?? [...size, ...size].map(() => 0);
  const spread = spreadOut(x, intsOf(candidate, 'strides') ?? size.map(() => 1));
  // A border in front by which the kernel reaches every pixel, and one behind that the result needs.
  const reach = size.map((n, i) => (n - 1) * dilations[i]!);
  const behind = size.map((_, i) => Math.max(0, before[i]! + shape[i + 2]! - spread.shape[i + 2]!));
  const counts = behind.map((n, i) => spread.shape[i + 2]! + n);
  const result = node('Conv', [spread, reversedWeight(weight, groups)], [...shape.slice(0, 2), ...counts], {
    attributes: {
      kernel_shape: { ints: size },
      dilations: { ints: dilations },
      pads: { ints: [...reach, ...behind] },
      group: { int: groups },
    },
  });
  const axes = size.map((_, i) => i + 2);
  const begins = axes.map((_, i) => before[i]!);
  const stops = axes.map((axis, i) => before[i]! + shape[axis]!);
  return node('Slice', [result, integers(begins), integers(stops), integers(axes)], shape);
}

/** Puts zeros between the pixels, and behind the last, by a transposed convolution with a single one. */
function spreadOut(x: Value, strides: readonly number[]): Value {
  if (strides.every((stride) => stride === 1)) return x;
  const [batch, channels, ...size] = x.shape as [number, number, ...number[]];
  const extent = size.map((n, i) => n * strides[i]!);
  const planes = reshaped(x, [batch * channels, 1, ...size]);
  const spread = node(
    'ConvTranspose',
    [planes, constant(1, [1, 1, ...size.map(() => 1)])],
    [batch * channels, 1, ...extent],
    {
      attributes: {
        kernel_shape: { ints: size.map(() => 1) },
        strides: { ints: strides },
        output_padding: { ints: strides.map((stride) => stride - 1) },
      },
    },
  );
  return reshaped(spread, [batch, channels, ...extent]);
}

/** `[groups · in, out, …]` to `[groups · out, in, …]`, reversed along the spatial axes. */
function reversedWeight(weight: Value, groups: number): Value {
  const [channels, outputs, ...size] = weight.shape as [number, number, ...number[]];
  const inputs = channels / groups;
  const spatial = size.map((_, i) => i + 3);
  const swapped = transpose(reshaped(weight, [groups, inputs, outputs, ...size]), [0, 2, 1, ...spatial]);
  const shape = [groups * outputs, inputs, ...size];
  const slices = [size.map(() => -1), size.map((n) => -n - 1), size.map((_, i) => i + 2), size.map(() => -1)];
  return node('Slice', [reshaped(swapped, shape), ...slices.map(integers)], shape);
}
