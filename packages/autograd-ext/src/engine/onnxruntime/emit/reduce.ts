import { integers, node, type Attribute } from '../graph/graph.js';
import { registerKernelEmitter } from '../recorder/recorder.js';
import { identityOrder, ordered, plainView, reshapedView, viewOf, type View } from '../recorder/view.js';
import { cast, floats, nonNegativeAxis, numbers } from './builders.js';

// Sums, means, extrema and softmax along axes.

/** The axes of a reduction; all axes if null or undefined. */
type Axes = number | readonly number[] | null | undefined;

interface ReduceAttrs {
  axis?: Axes;
  /** The name that the kernel `Max` uses for `axis`. */
  reductionIndices?: Axes;
  keepDims?: boolean;
}

for (const [kernel, op] of [
  ['Sum', 'ReduceSum'],
  ['Max', 'ReduceMax'],
  ['Min', 'ReduceMin'],
  ['Prod', 'ReduceProd'],
] as const) {
  registerKernelEmitter<ReduceAttrs>(kernel, ({ x }, { reductionIndices, axis = reductionIndices, keepDims = false }) =>
    reduce(op, numbers(x!), axis, keepDims),
  );
}
registerKernelEmitter<ReduceAttrs>('Mean', ({ x }, { axis, keepDims = false }) =>
  reduce('ReduceMean', floats(x!), axis, keepDims),
);
for (const [kernel, op] of [
  ['All', 'ReduceMin'],
  ['Any', 'ReduceMax'],
] as const) {
  registerKernelEmitter<ReduceAttrs>(kernel, ({ x }, { axis, keepDims = false }) => {
    const reduced = reduce(op, viewOf(cast(x!.value, 'int32'), x!.order), axis, keepDims);
    return viewOf(cast(reduced.value, 'bool'), reduced.order);
  });
}
for (const [kernel, op] of [
  ['ArgMax', 'ArgMax'],
  ['ArgMin', 'ArgMin'],
] as const) {
  registerKernelEmitter<{ axis: number }>(kernel, ({ x }, { axis }) => {
    return positionOfExtremum(op, x!, nonNegativeAxis(axis, x!.shape.length));
  });
}
registerKernelEmitter<{ dim?: number }>('Softmax', ({ logits }, { dim = -1 }) => {
  return alongAxis('Softmax', logits!, nonNegativeAxis(dim, logits!.shape.length));
});
registerKernelEmitter<{ axis?: number }>('LogSoftmax', ({ logits }, { axis = -1 }) =>
  alongAxis('LogSoftmax', logits!, nonNegativeAxis(axis, logits!.shape.length)),
);

/** Reduces axes of the tensor; the others keep their order. */
function reduce(op: string, x: View, axis: Axes, keepDims: boolean): View {
  const rank = x.shape.length;
  const axes = (axis === undefined || axis === null ? identityOrder(rank) : [axis].flat()).map((a) =>
    nonNegativeAxis(a, rank),
  );
  const result = x.shape.map((size, a) => (axes.includes(a) ? 1 : size));
  if (axes.length === 0 || rank === 0) return x;
  const value = node(
    op,
    [x.value, integers(x.order.flatMap((a, position) => (axes.includes(a) ? [position] : [])))],
    x.order.map((a) => result[a]!),
    { attributes: { keepdims: { int: 1 } } },
  );
  const reduced = viewOf(value, x.order);
  return keepDims
    ? reduced
    : reshapedView(
        reduced,
        x.shape.filter((_, a) => !axes.includes(a)),
      );
}

function positionOfExtremum(op: string, x: View, axis: number): View {
  const attributes: Record<string, Attribute> = { axis: { int: x.order.indexOf(axis) }, keepdims: { int: 1 } };
  const indices = node(
    op,
    [x.value],
    x.value.shape.map((size, i) => (x.order[i] === axis ? 1 : size)),
    { dtype: 'int64', attributes },
  );
  const view = viewOf(cast(indices, 'int32'), x.order);
  return reshapedView(
    view,
    x.shape.filter((_, a) => a !== axis),
  );
}

/** Applies an operator that normalizes along an axis. */
function alongAxis(op: string, x: View, axis: number): View {
  // The last axis is the fastest, and the only one that ONNX Runtime's fusions recognise.
  const position = x.order.indexOf(axis);
  if (position === x.order.length - 1)
    return viewOf(node(op, [x.value], x.value.shape, { attributes: { axis: { int: -1 } } }), x.order);
  const value = ordered(x, identityOrder(x.shape.length));
  return plainView(node(op, [value], value.shape, { attributes: { axis: { int: axis } } }));
}
