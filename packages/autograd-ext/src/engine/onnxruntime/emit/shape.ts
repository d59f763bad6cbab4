import { constant, integers, node, nodeOutputs, type Dtype } from '../graph/graph.js';
import { registerKernelEmitter } from '../recorder/recorder.js';
import {
  commonOrder,
  dtypeOf,
  identityOrder,
  ordered,
  plain,
  plainView,
  reshapedView,
  transposed,
  viewOf,
  type View,
} from '../recorder/view.js';
import { elementCount } from '../../../params.js';
import { nonNegativeAxis, scalar } from './builders.js';

// Kernels that move or create elements without computing.

registerKernelEmitter<{ shape: number[] }>('Reshape', ({ x }, { shape }) =>
  reshapedView(x!, inferred(shape, x!.shape)),
);
registerKernelEmitter<{ dim: number }>('ExpandDims', ({ input }, { dim }) => {
  const at = nonNegativeAxis(dim, input!.shape.length + 1);
  return reshapedView(input!, [...input!.shape.slice(0, at), 1, ...input!.shape.slice(at)]);
});
registerKernelEmitter<{ perm: number[] }>('Transpose', ({ x }, { perm }) => transposed(x!, perm));
registerKernelEmitter<{ axis: number }>('Concat', (inputs, { axis }) => concat(Object.values(inputs), axis));
registerKernelEmitter<{ axis: number }>('Pack', (inputs, { axis }) => {
  const views = Object.values(inputs);
  const at = nonNegativeAxis(axis, views[0]!.shape.length + 1);
  return concat(
    views.map((view) => reshapedView(view, [...view.shape.slice(0, at), 1, ...view.shape.slice(at)])),
    at,
  );
});
registerKernelEmitter<{ axis: number }>('Unpack', ({ value }, { axis }) => {
  const at = nonNegativeAxis(axis, value!.shape.length);
  const shape = value!.shape.filter((_, i) => i !== at);
  return split(value!, Array<number>(value!.shape[at]!).fill(1), at).map((part) => reshapedView(part, shape));
});
registerKernelEmitter<{ numOrSizeSplits: number | number[]; axis: number }>(
  'SplitV',
  ({ x }, { numOrSizeSplits, axis }) => {
    const at = nonNegativeAxis(axis, x!.shape.length);
    return split(x!, splitSizes(numOrSizeSplits, x!.shape[at]!), at);
  },
);
registerKernelEmitter<{ begin: number | number[]; size: number | number[] }>('Slice', ({ x }, { begin, size }) => {
  const rank = x!.shape.length;
  const starts = padList(begin, rank, 0);
  const counts = padList(size, rank, -1).map((count, axis) => (count < 0 ? x!.shape[axis]! - starts[axis]! : count));
  return slice(
    x!,
    starts,
    starts.map((start, axis) => start + counts[axis]!),
  );
});
registerKernelEmitter<{ paddings: [number, number][]; constantValue: number }>(
  'PadV2',
  ({ x }, { paddings, constantValue }) => pad(x!, paddings, constantValue),
);
registerKernelEmitter<{ dims?: number | number[] }>('Reverse', ({ x }, { dims = identityOrder(x!.shape.length) }) => {
  const axes = [dims].flat().map((dim) => nonNegativeAxis(dim, x!.shape.length));
  return reversed(x!, axes);
});
registerKernelEmitter<{ reps: number[] }>('Tile', ({ x }, { reps }) => {
  const shape = x!.value.shape.map((size, i) => size * reps[x!.order[i]!]!);
  return viewOf(node('Tile', [x!.value, integers(x!.order.map((axis) => reps[axis]!))], shape), x!.order);
});
registerKernelEmitter<{ shape: number[] }>('BroadcastTo', ({ x }, { shape }) =>
  plainView(node('Expand', [plain(x!), integers(shape)], shape)),
);
registerKernelEmitter<{ shape: number[]; value: number; dtype?: Dtype }>(
  'Fill',
  (_, { shape, value, dtype = 'float32' }) => plainView(constant(value, shape, dtype)),
);
registerKernelEmitter('ZerosLike', ({ x }) => viewOf(constant(0, x!.value.shape, dtypeOf(x!)), x!.order));
registerKernelEmitter('OnesLike', ({ x }) => viewOf(constant(1, x!.value.shape, dtypeOf(x!)), x!.order));
registerKernelEmitter<{ start: number; stop: number; step: number; dtype: Dtype }>(
  'Range',
  (_, { start, stop, step, dtype }) => {
    const count = Math.max(0, Math.ceil((stop - start) / step));
    const values = Array.from({ length: count }, (_, i) => start + i * step);
    return plainView(constant(dtype === 'int32' ? Int32Array.from(values) : Float32Array.from(values), [count], dtype));
  },
);
registerKernelEmitter<{ start: number; stop: number; num: number }>('LinSpace', (_, { start, stop, num }) => {
  const values = Array.from({ length: num }, (_, i) => start + (i * (stop - start)) / Math.max(1, num - 1));
  return plainView(constant(Float32Array.from(values), [num]));
});
registerKernelEmitter('FlipLeftRight', ({ image }) => reversed(image!, [2]));

/** Replaces a size of -1 by the one that keeps the number of elements. */
const inferred = (shape: readonly number[], from: readonly number[]): number[] => {
  const known = shape.reduce((product, size) => (size < 0 ? product : product * size), 1);
  return shape.map((size) => (size < 0 ? elementCount(from) / known : size));
};

/** The sizes of the parts: `split` equal ones, or the given ones, of which -1 is the rest. */
const splitSizes = (split: number | number[], size: number): number[] => {
  if (typeof split === 'number') return Array<number>(split).fill(size / split);
  const known = split.reduce((sum, n) => sum + Math.max(0, n), 0);
  return split.map((n) => (n < 0 ? size - known : n));
};

/** A list of `rank` entries: the given ones, then `rest`. */
const padList = (values: number | number[], rank: number, rest: number): number[] => {
  const list = typeof values === 'number' ? [values] : values;
  return Array.from({ length: rank }, (_, i) => list[i] ?? rest);
};

function concat(views: readonly View[], axis: number): View {
  const rank = views[0]!.shape.length;
  const at = nonNegativeAxis(axis, rank);
  const nonEmpty = views.filter(({ shape }) => shape[at] !== 0);
  if (nonEmpty.length <= 1) return nonEmpty[0] ?? views[0]!;
  const order = commonOrder(nonEmpty, rank);
  const values = nonEmpty.map((view) => ordered(view, order));
  const position = order.indexOf(at);
  const shape = values[0]!.shape.map((size, i) =>
    i === position ? values.reduce((sum, value) => sum + value.shape[i]!, 0) : size,
  );
  return viewOf(node('Concat', values, shape, { attributes: { axis: { int: position } } }), order);
}

/**
 * Slices a tensor; the lists have one entry per axis of the tensor.
 * @param ends exclusive; with a negative step, `-size - 1` includes the first element
 */
export function slice(
  x: View,
  starts: readonly number[],
  ends: readonly number[],
  steps: readonly number[] = starts.map(() => 1),
): View {
  const axes = x.order
    .map((axis, position) => ({ axis, position }))
    .filter(({ axis }) => starts[axis] !== 0 || ends[axis] !== x.shape[axis] || steps[axis] !== 1);
  if (axes.length === 0) return x;
  const of = (list: readonly number[]) => integers(axes.map(({ axis }) => list[axis]!));
  const counts = new Map(
    axes.map(({ axis, position }) => {
      const [start, end, step] = [starts[axis]!, ends[axis]!, steps[axis]!];
      return [position, Math.max(0, Math.ceil((step < 0 ? start - Math.max(end, -1) : end - start) / Math.abs(step)))];
    }),
  );
  const shape = x.value.shape.map((size, position) => counts.get(position) ?? size);
  return viewOf(
    node('Slice', [x.value, of(starts), of(ends), integers(axes.map(({ position }) => position)), of(steps)], shape),
    x.order,
  );
}

function reversed(x: View, axes: readonly number[]): View {
  const choose = (yes: (size: number) => number, no: (size: number) => number) =>
    x.shape.map((size, axis) => (axes.includes(axis) ? yes(size) : no(size)));
  return slice(
    x,
    choose(
      (size) => size - 1,
      () => 0,
    ),
    choose(
      (size) => -size - 1,
      (size) => size,
    ),
    choose(
      () => -1,
      () => 1,
    ),
  );
}

function split(x: View, parts: readonly number[], axis: number): View[] {
  const position = x.order.indexOf(axis);
  const outputs = parts.map((size) => ({
    shape: x.value.shape.map((n, i) => (i === position ? size : n)),
    dtype: dtypeOf(x),
  }));
  const values = nodeOutputs('Split', [x.value, integers(parts)], outputs, { attributes: { axis: { int: position } } });
  return values.map((value) => viewOf(value, x.order));
}

export function pad(x: View, paddings: readonly (readonly [number, number])[], value = 0): View {
  if (paddings.every(([before, after]) => before === 0 && after === 0)) return x;
  const amounts = x.order.map((axis) => paddings[axis]!);
  const shape = x.value.shape.map((size, i) => size + amounts[i]![0] + amounts[i]![1]);
  const fill = scalar(value, dtypeOf(x));
  return viewOf(
    node(
      'Pad',
      [x.value, integers([...amounts.map(([before]) => before), ...amounts.map(([, after]) => after)]), fill],
      shape,
    ),
    x.order,
  );
}
