import { constant, integers, microsoft, node, type Attribute, type Dtype, type Value } from '../graph.js';
import { recordKernel } from '../recorder.js';
import { broadcastOrdered, commonOrder, dtypeOf, viewOf, type View } from '../view.js';

const names = (...list: string[]) => list.map((name) => [name, name] as const);

// tfjs kernel → ONNX operator
for (const [kernel, op] of [...names('Abs', 'Acos', 'Acosh', 'Asin', 'Asinh', 'Atan', 'Atanh', 'Ceil', 'Cos', 'Cosh', 'Erf', 'Exp', 'Floor', 'Log', 'Neg', 'Reciprocal', 'Relu', 'Round', 'Sigmoid', 'Sign', 'Sin', 'Sinh', 'Softplus', 'Sqrt', 'Tan', 'Tanh')]) {
  recordKernel(kernel, ({ x }) => unary(op, x!));
}
recordKernel('Elu', ({ x }) => unary('Elu', x!));
recordKernel('Square', ({ x }) => viewOf(node('Mul', [x!.value, x!.value], x!.value.shape), x!.order));
recordKernel('Rsqrt', ({ x }) => unary('Reciprocal', unary('Sqrt', x!)));
recordKernel('Identity', ({ x }) => x!);
recordKernel('Gelu', ({ x }) => unary('Gelu', x!, { domain: microsoft }));
recordKernel('QuickGelu', ({ x }) => unary('QuickGelu', x!, { domain: microsoft, attributes: { alpha: { float: 1.702 } } }));
recordKernel('Silu', ({ x }) => unary('QuickGelu', x!, { domain: microsoft, attributes: { alpha: { float: 1 } } }));

recordKernel<{ alpha: number }>('LeakyRelu', ({ x }, { alpha }) => unary('LeakyRelu', x!, { attributes: { alpha: { float: alpha } } }));
recordKernel<{ clipValueMin: number; clipValueMax: number }>('ClipByValue', ({ x }, { clipValueMin, clipValueMax }) =>
  viewOf(node('Clip', [x!.value, scalarLike(x!, clipValueMin), scalarLike(x!, clipValueMax)], x!.value.shape), x!.order));

for (const [kernel, op] of [...names('Add', 'Sub', 'Mul', 'Pow'), ['RealDiv', 'Div'], ['Multiply', 'Mul']] as const) recordKernel(kernel, ({ a, b }) => binary(op, [a!, b!]));
recordKernel('Maximum', ({ a, b }) => binary('Max', [a!, b!]));
recordKernel('Minimum', ({ a, b }) => binary('Min', [a!, b!]));
recordKernel('SquaredDifference', ({ a, b }) => {
  const difference = binary('Sub', [a!, b!]);
  return viewOf(node('Mul', [difference.value, difference.value], difference.value.shape), difference.order);
});
recordKernel('AddN', (inputs) => Object.values(inputs).reduce((sum, view) => binary('Add', [sum, view])));
for (const op of ['Equal', 'Greater', 'GreaterEqual', 'Less', 'LessEqual']) {
  recordKernel(op === 'GreaterEqual' || op === 'LessEqual' ? op : op, ({ a, b }) => binary(op === 'GreaterEqual' ? 'GreaterOrEqual' : op === 'LessEqual' ? 'LessOrEqual' : op, [a!, b!], 'bool'));
}
recordKernel('NotEqual', ({ a, b }) => unary('Not', binary('Equal', [a!, b!], 'bool')));
recordKernel('LogicalAnd', ({ a, b }) => binary('And', [a!, b!], 'bool'));
recordKernel('LogicalOr', ({ a, b }) => binary('Or', [a!, b!], 'bool'));
recordKernel('LogicalNot', ({ x }) => unary('Not', x!));
recordKernel('Select', ({ condition, t, e }) => {
  // tfjs lets a condition of rank 1 choose rows.
  const rank = t!.shape.length;
  const rows = condition!.shape.length === 1 && rank > 1;
  const mask = rows ? viewOf(reshapeValue(condition!.value, [condition!.shape[0]!, ...Array<number>(rank - 1).fill(1)]), Array.from({ length: rank }, (_, i) => i)) : condition!;
  return combine('Where', [mask, t!, e!], dtypeOf(t!));
});
recordKernel<{ dtype: string }>('Cast', ({ x }, { dtype }) => castTo(x!, dtype as Dtype));

/** One operator on every element. */
export function unary(op: string, x: View, options: { domain?: string; attributes?: Readonly<Record<string, Attribute>> } = {}): View {
  return viewOf(node(op, [x.value], x.value.shape, options), x.order);
}

/** One operator on pairs of elements, broadcast as in numpy. */
export const binary = (op: string, operands: readonly View[], dtype?: Dtype): View => combine(op, operands, dtype);

function combine(op: string, operands: readonly View[], dtype?: Dtype): View {
  const rank = Math.max(...operands.map(({ shape }) => shape.length));
  const shape = broadcastShape(operands.map((view) => view.shape), rank);
  const order = commonOrder(operands, rank);
  const values = operands.map((view) => broadcastOrdered(view, rank, order));
  return viewOf(node(op, values, order.map((axis) => shape[axis]!), { dtype: dtype ?? dtypeOf(operands[0]!) }), order);
}

export function broadcastShape(shapes: readonly (readonly number[])[], rank = Math.max(...shapes.map(({ length }) => length))): number[] {
  return Array.from({ length: rank }, (_, axis) => {
    const sizes = shapes.map((shape) => shape[axis - rank + shape.length] ?? 1);
    return sizes.find((size) => size !== 1) ?? 1;
  });
}

export const castTo = (x: View, dtype: Dtype): View => (dtypeOf(x) === dtype ? x : viewOf(cast(x.value, dtype), x.order));
export function cast(value: Value, dtype: Dtype): Value {
  const codes = { float32: 1, int32: 6, bool: 9, int64: 7 };
  return value.dtype === dtype ? value : node('Cast', [value], value.shape, { dtype, attributes: { to: { int: codes[dtype] } } });
}
export const scalar = (number: number, dtype: Dtype = 'float32'): Value => constant(dtype === 'float32' ? Float32Array.of(number) : Int32Array.of(number), [], dtype);
const scalarLike = (x: View, number: number) => scalar(number, dtypeOf(x));
const reshapeValue = (value: Value, shape: readonly number[]) => node('Reshape', [value, integers(shape)], shape);
