// Builders of nodes that several emitters share: first on views (tensors whose axes may be stored in another order),
// then on plain values of the graph.
import { constant, elementTypes, integers, node, type Attribute, type Dtype, type Value } from '../graph/graph.js';
import { broadcastOrdered, commonOrder, dtypeOf, plainView, viewOf, type View } from '../recorder/view.js';

/** Applies an operator to every element. */
export function unary(
  op: string,
  x: View,
  options: { domain?: string; dtype?: Dtype; attributes?: Readonly<Record<string, Attribute>> } = {},
): View {
  return viewOf(node(op, [x.value], x.value.shape, options), x.order);
}

/** Applies an operator to corresponding elements, broadcast as in numpy. */
export function binary(
  op: string,
  operands: readonly View[],
  dtype: Dtype = dtypeOf(operands[0]!),
  attributes: Readonly<Record<string, Attribute>> = {},
): View {
  const rank = Math.max(...operands.map(({ shape }) => shape.length));
  const shape = broadcastShape(
    operands.map((view) => view.shape),
    rank,
  );
  const order = commonOrder(operands, rank);
  const values = operands.map((view) => broadcastOrdered(view, rank, order));
  return viewOf(
    node(
      op,
      values,
      order.map((axis) => shape[axis]!),
      { dtype, attributes },
    ),
    order,
  );
}

/** Chooses elements of `yes` where the mask is true, and of `no` elsewhere. */
export function where(mask: View, yes: View, no: View): View {
  // ONNX Runtime has Where for numbers only.
  if (dtypeOf(yes) === 'bool') return castTo(where(mask, castTo(yes, 'int32'), castTo(no, 'int32')), 'bool');
  return binary('Where', [mask, yes, no], dtypeOf(yes));
}

export const square = (x: View): View => viewOf(node('Mul', [x.value, x.value], x.value.shape), x.order);
export const clip = (x: View, min: number, max: number): View =>
  viewOf(node('Clip', [x.value, scalar(min, dtypeOf(x)), scalar(max, dtypeOf(x))], x.value.shape), x.order);

export const castTo = (x: View, dtype: Dtype): View =>
  dtypeOf(x) === dtype ? x : viewOf(cast(x.value, dtype), x.order);
/** Casts any dtype to float32. */
export const floats = (x: View): View => castTo(x, 'float32');
/** Casts booleans to int32, since ONNX does no arithmetic on booleans; leaves numbers as they are. */
export const numbers = (x: View): View => (dtypeOf(x) === 'bool' ? castTo(x, 'int32') : x);
/** A scalar constant as a view. */
export const number = (value: number, dtype?: Dtype): View => plainView(scalar(value, dtype));

/** The shape that arrays of these shapes are broadcast to, as in numpy. */
export function broadcastShape(
  shapes: readonly (readonly number[])[],
  rank = Math.max(...shapes.map(({ length }) => length)),
): number[] {
  return Array.from({ length: rank }, (_, axis) => {
    const sizes = shapes.map((shape) => shape[axis - rank + shape.length] ?? 1);
    return sizes.find((size) => size !== 1) ?? 1;
  });
}

export const scalar = (value: number, dtype: Dtype = 'float32'): Value =>
  constant(dtype === 'float32' ? Float32Array.of(value) : Int32Array.of(value), [], dtype);

export function cast(value: Value, dtype: Dtype): Value {
  return value.dtype === dtype
    ? value
    : node('Cast', [value], value.shape, { dtype, attributes: { to: { int: elementTypes[dtype] } } });
}

export const add = (a: Value, b: Value): Value => node('Add', [a, b], broadcastShape([a.shape, b.shape]));
export const sub = (a: Value, b: Value): Value => node('Sub', [a, b], broadcastShape([a.shape, b.shape]));
export const mul = (a: Value, b: Value): Value => node('Mul', [a, b], broadcastShape([a.shape, b.shape]));

/** The sum over the last axis, which stays with size 1. */
export const sumLast = (x: Value): Value => reduceLast('ReduceSum', x);
/** The mean over the last axis, which stays with size 1. */
export const meanLast = (x: Value): Value => reduceLast('ReduceMean', x);

const reduceLast = (op: string, x: Value): Value =>
  node(op, [x, integers([x.shape.length - 1])], [...x.shape.slice(0, -1), 1], { attributes: { keepdims: { int: 1 } } });

export const transpose = (x: Value, perm: readonly number[]): Value =>
  node(
    'Transpose',
    [x],
    perm.map((axis) => x.shape[axis]!),
    { attributes: { perm: { ints: perm } } },
  );

/** Multiplies matrices; the leading axes of the operand with more of them are batch axes. */
export function matMulValues(a: Value, b: Value): Value {
  const batch = a.shape.length >= b.shape.length ? a.shape.slice(0, -2) : b.shape.slice(0, -2);
  return node('MatMul', [a, b], [...batch, a.shape.at(-2)!, b.shape.at(-1)!]);
}

/** Resolves an axis that is counted from the end if negative. */
export const nonNegativeAxis = (axis: number, rank: number): number => (axis < 0 ? axis + rank : axis);
