import { integers, intsOf, node, type GraphNode, type Value } from '../graph/graph.js';

/**
 * A convolution of an image of the kernel's size with a border behind it alone: WebGPU takes it for a matrix product,
 * without the border. Has a border in front as well, and cuts off the pixels that come of it. ONNX Runtime would merge
 * a Pad into the convolution.
 * @returns undefined for other convolutions
 */
export function borderedConv(candidate: GraphNode): Value | undefined {
  const { inputs, attributes, outputs } = candidate;
  const [x, weight] = inputs as [Value, Value];
  const [size, extent] = [weight.shape.slice(2), x.shape.slice(2)];
  const pads = intsOf(candidate, 'pads') ?? [];
  const [before, after] = [pads.slice(0, size.length), pads.slice(size.length)];
  if (`${size}` !== `${extent}` || before.some((n) => n > 0) || after.every((n) => n === 0)) return undefined;
  const { shape } = outputs[0]!;
  const front = intsOf(candidate, 'strides') ?? size.map(() => 1);
  const bordered = node('Conv', inputs, [...shape.slice(0, 2), ...shape.slice(2).map((n) => n + 1)], {
    attributes: { ...attributes, pads: { ints: [...front, ...after] } },
  });
  const [starts, ends, axes] = [size.map(() => 1), shape.slice(2).map((n) => n + 1), size.map((_, i) => i + 2)];
  return node('Slice', [bordered, integers(starts), integers(ends), integers(axes)], shape);
}
