import { integers, node, type Dtype, type Value } from '../graph/graph.js';
import { elementCount } from '../../../params.js';

/**
 * A recorded tensor: a value whose axes may be stored in another order than the tensor's. A transpose only relabels
 * axes; a Transpose node is added when an operator needs a particular order. Convolutions need channels first, so
 * images stay channels-first between convolutions.
 */
export interface View {
  /** The tensor's shape. */
  readonly shape: readonly number[];
  readonly value: Value;
  /** Axis `order[i]` of the tensor is axis i of the value. */
  readonly order: readonly number[];
}

export const identityOrder = (rank: number): number[] => Array.from({ length: rank }, (_, i) => i);
/** The view of a value whose axes are stored in the tensor's order. */
export const plainView = (value: Value): View => ({
  shape: value.shape,
  value,
  order: identityOrder(value.shape.length),
});
export const dtypeOf = (view: View): Dtype => view.value.dtype;
export const isPlain = ({ order }: View): boolean => order.every((axis, i) => axis === i);

/** The view of a value whose axes are stored in the given order. */
export function viewOf(value: Value, order: readonly number[]): View {
  const shape: number[] = [];
  order.forEach((axis, i) => (shape[axis] = value.shape[i]!));
  return { shape, value, order };
}

/** The value with its axes in the given order; adds a transpose if they are stored in another. */
export function ordered(view: View, order: readonly number[]): Value {
  if (order.every((axis, i) => axis === view.order[i])) return view.value;
  const perm = order.map((axis) => view.order.indexOf(axis));
  const shape = order.map((axis) => view.shape[axis]!);
  // Moving an axis of size 1 moves no elements, so a reshape does.
  const moved = perm.filter((i) => view.value.shape[i] !== 1);
  if (moved.every((axis, i) => i === 0 || axis > moved[i - 1]!)) return reshaped(view.value, shape);
  return node('Transpose', [view.value], shape, { attributes: { perm: { ints: perm } } });
}

/** The value with its axes in the tensor's order. */
export const plain = (view: View): Value => ordered(view, identityOrder(view.shape.length));

/** Reshapes a value. */
export function reshaped(value: Value, shape: readonly number[]): Value {
  if (shape.length === value.shape.length && shape.every((size, i) => size === value.shape[i])) return value;
  const { source } = value;
  // Weights and constants need no node: they are written to the model in the new shape.
  if (source.kind === 'weight' || source.kind === 'constant') return { ...value, shape: [...shape] };
  const origin = source.kind === 'node' && source.node.op === 'Reshape' ? source.node.inputs[0]! : value;
  return origin.shape.length === shape.length && shape.every((size, i) => size === origin.shape[i])
    ? origin
    : node('Reshape', [origin, integers(shape)], shape);
}

/** Transposes a tensor without moving elements: axis i of the result is axis `perm[i]`. */
export function transposed(view: View, perm: readonly number[]): View {
  return {
    shape: perm.map((axis) => view.shape[axis]!),
    value: view.value,
    order: view.order.map((axis) => perm.indexOf(axis)),
  };
}

/** Reshapes a tensor. Moves no elements if the axes that merge or split are stored next to each other. */
export function reshapedView(view: View, shape: readonly number[]): View {
  if (isPlain(view) || elementCount(shape) === 0) return plainView(reshaped(plain(view), shape));
  const order = reorder(view, shape);
  if (!order) return plainView(reshaped(plain(view), shape));
  return {
    shape: [...shape],
    value: reshaped(
      view.value,
      order.map((axis) => shape[axis]!),
    ),
    order,
  };
}

/** The stored order of the axes after a reshape; undefined if the reshape has to move elements. */
function reorder(view: View, shape: readonly number[]): number[] | undefined {
  const segments = segmentsOf(view.shape, shape);
  const ones = shape
    .map((size, axis) => ({ size, axis }))
    .filter(({ size }) => size === 1)
    .map(({ axis }) => axis);
  const order: number[] = [];
  const axes = view.order.filter((axis) => view.shape[axis] !== 1);
  for (let i = 0; i < axes.length;) {
    const segment = segments.find(({ from }) => from[0] === axes[i]);
    if (!segment || !segment.from.every((axis, j) => axes[i + j] === axis)) return undefined;
    order.push(...segment.to);
    i += segment.from.length;
  }
  return [...ones, ...order];
}

/** Matches old axes with new ones: the smallest groups with equal products. Axes of size 1 are left out. */
function segmentsOf(from: readonly number[], to: readonly number[]): { from: number[]; to: number[] }[] {
  const axesOf = (shape: readonly number[]) => identityOrder(shape.length).filter((axis) => shape[axis] !== 1);
  const [oldAxes, newAxes] = [axesOf(from), axesOf(to)];
  const segments: { from: number[]; to: number[] }[] = [];
  for (let i = 0, j = 0; i < oldAxes.length || j < newAxes.length;) {
    const segment = { from: [oldAxes[i++]!], to: [newAxes[j++]!] };
    let [left, right] = [from[segment.from[0]!]!, to[segment.to[0]!]!];
    while (left !== right) {
      if (left < right) {
        left *= from[oldAxes[i]!]!;
        segment.from.push(oldAxes[i++]!);
      } else {
        right *= to[newAxes[j]!]!;
        segment.to.push(newAxes[j++]!);
      }
    }
    segments.push(segment);
  }
  return segments;
}

/**
 * Chooses the storage order for combining views element by element: that of the largest view. Among several, images
 * (rank 4 and more) prefer an order other than the tensor's, which keeps them channels-first; others prefer the
 * tensor's order, since operators on sequences need channels last.
 */
export function commonOrder(views: readonly View[], rank: number): readonly number[] {
  const full = views.filter((view) => view.shape.length === rank);
  const largest = Math.max(...full.map((view) => elementCount(view.shape)));
  const candidates = full
    .filter((view) => elementCount(view.shape) === largest)
    .sort((a, b) => Number(isPlain(a)) - Number(isPlain(b)));
  const preferred = rank >= 4 ? candidates[0] : candidates.at(-1);
  return preferred?.order ?? identityOrder(rank);
}

/** The value of a view, extended to `rank` axes for broadcasting, with its axes in the given order. */
export function broadcastOrdered(view: View, rank: number, order: readonly number[]): Value {
  if (view.shape.length === 0) return view.value;
  const missing = rank - view.shape.length;
  const padded: View =
    missing === 0
      ? view
      : {
          shape: [...Array<number>(missing).fill(1), ...view.shape],
          value: reshaped(view.value, [...Array<number>(missing).fill(1), ...view.value.shape]),
          order: [...identityOrder(missing), ...view.order.map((axis) => axis + missing)],
        };
  return ordered(padded, order);
}
