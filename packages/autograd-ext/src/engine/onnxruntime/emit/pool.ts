import { constant, node, nodeOutputs, type Value } from '../graph/graph.js';
import { registerKernelEmitter } from '../recorder/recorder.js';
import { reshaped, type View } from '../recorder/view.js';
import { fromChannelsFirst, toChannelsFirst } from './channels.js';
import { poolWindows, windowAttributes, type WindowAttrs, type Windows } from './windows.js';
import { elementCount } from '../../../params.js';

// Max and average pools of images and volumes, and their gradients.

type PoolAttrs = WindowAttrs & { filterSize: number | number[] };

for (const kernel of ['MaxPool', 'MaxPool3D'])
  registerKernelEmitter<PoolAttrs>(kernel, ({ x }, attrs) => fromChannelsFirst(maxPool(kernel, x!, attrs)[0]));
for (const kernel of ['AvgPool', 'AvgPool3D']) {
  registerKernelEmitter<PoolAttrs>(kernel, ({ x }, attrs) => {
    const value = toChannelsFirst(x!);
    const windows = poolWindows(kernel, x!.shape, attrs);
    return fromChannelsFirst(
      node('AveragePool', [value], [...value.shape.slice(0, 2), ...windows.counts], {
        attributes: windowAttributes(windows),
      }),
    );
  });
}

// Adds the gradient of each window to the position of its first maximum.
for (const [kernel, input] of [
  ['MaxPoolInputGrad', 'x'],
  ['MaxPoolGrad', 'input'],
  ['MaxPool3DGrad', 'input'],
] as const) {
  registerKernelEmitter<PoolAttrs>(kernel, (inputs, attrs) => {
    const [, positions] = maxPool(kernel, inputs[input]!, attrs);
    const shape = toChannelsFirst(inputs[input]!).shape;
    const zeros = constant(0, [elementCount(shape)]);
    const flat = [
      zeros,
      reshaped(positions, [elementCount(positions.shape)]),
      reshaped(toChannelsFirst(inputs.dy!), [elementCount(positions.shape)]),
    ];
    const sums = node('ScatterElements', flat, zeros.shape, {
      attributes: { axis: { int: 0 }, reduction: { string: 'add' } },
    });
    return fromChannelsFirst(reshaped(sums, shape));
  });
}

// Divides the gradient of each window among its positions inside the image: a transposed convolution with ones, channel
// by channel.
for (const [kernel, input] of [
  ['AvgPoolInputGrad', 'x'],
  ['AvgPoolGrad', 'input'],
  ['AvgPool3DGrad', 'input'],
] as const) {
  registerKernelEmitter<PoolAttrs>(kernel, (inputs, attrs) => {
    const windows = poolWindows(kernel, inputs[input]!.shape, attrs);
    const [dy, shape] = [toChannelsFirst(inputs.dy!), toChannelsFirst(inputs[input]!).shape];
    const shares = node('Mul', [dy, constant(sharesOf(windows), windows.counts)], dy.shape);
    const planes = reshaped(shares, [shape[0]! * shape[1]!, 1, ...windows.counts]);
    const spread = node(
      'ConvTranspose',
      [planes, constant(1, [1, 1, ...windows.size])],
      [planes.shape[0]!, 1, ...windows.extent],
      { attributes: spreadAttributes(windows) },
    );
    return fromChannelsFirst(reshaped(spread, shape));
  });
}

/** The maxima and, for gradients, their positions in the flattened value. */
function maxPool(kernel: string, x: View, attrs: PoolAttrs): readonly [Value, Value] {
  const value = toChannelsFirst(x);
  const windows = poolWindows(kernel, x.shape, attrs);
  const shape = [...value.shape.slice(0, 2), ...windows.counts];
  const outputs = [
    { shape, dtype: value.dtype },
    { shape, dtype: 'int64' },
  ] as const;
  return nodeOutputs('MaxPool', [value], kernel.includes('Grad') ? outputs : outputs.slice(0, 1), {
    attributes: windowAttributes(windows),
  }) as unknown as readonly [Value, Value];
}

function spreadAttributes(windows: Windows) {
  const { extent, size, strides, before, after, counts } = windows;
  const missing = extent.map((n, i) => n + before[i]! + after[i]! - ((counts[i]! - 1) * strides[i]! + size[i]!));
  return { ...windowAttributes(windows), ...(missing.some((n) => n > 0) && { output_padding: { ints: missing } }) };
}

/** For each window, 1 / (the number of its positions inside the image). */
function sharesOf({ extent, size, strides, before, counts }: Windows): Float32Array {
  const covered = counts.map((count, axis) =>
    Array.from({ length: count }, (_, i) => {
      const start = i * strides[axis]! - before[axis]!;
      return Math.min(start + size[axis]!, extent[axis]!) - Math.max(start, 0);
    }),
  );
  const products = covered.reduce<number[]>(
    (sums, axis) => sums.flatMap((product) => axis.map((n) => product * n)),
    [1],
  );
  return Float32Array.from(products, (n) => 1 / n);
}
