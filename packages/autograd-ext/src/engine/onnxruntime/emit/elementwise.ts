import { constant, elementTypes, microsoft, node, type Attribute, type Dtype, type Value } from '../graph/graph.js';
import { registerKernelEmitter } from '../recorder/recorder.js';
import { broadcastOrdered, commonOrder, dtypeOf, plainView, viewOf, type View } from '../recorder/view.js';

// What tfjs calls them, and what ONNX does. Those of the second line work on integers too, and leave them integers.
const ofFloats =
  'Acos Acosh Asin Asinh Atan Atanh Cos Cosh Elu Erf Exp Log Reciprocal Selu Sigmoid Sin Sinh Softplus Sqrt Tan Tanh';
const ofNumbers = 'Abs Neg Relu Sign';
for (const kernel of ofFloats.split(' ')) registerKernelEmitter(kernel, ({ x }) => unary(kernel, floats(x!)));
for (const kernel of ofNumbers.split(' ')) registerKernelEmitter(kernel, ({ x }) => unary(kernel, numbers(x!)));
for (const kernel of ['Ceil', 'Floor', 'Round'])
  registerKernelEmitter(kernel, ({ x }) => (dtypeOf(x!) === 'float32' ? unary(kernel, x!) : x!));

registerKernelEmitter('Identity', ({ x }) => x!);
registerKernelEmitter('Square', ({ x }) => square(numbers(x!)));
registerKernelEmitter('Rsqrt', ({ x }) => unary('Reciprocal', unary('Sqrt', floats(x!))));
// exp(x) - 1 = tanh(x/2)·(exp(x) + 1), which is exact near 0, where the difference is not.
registerKernelEmitter('Expm1', ({ x }) => {
  const half = binary('Mul', [floats(x!), number(0.5)]);
  return binary('Mul', [unary('Tanh', half), binary('Add', [unary('Exp', floats(x!)), number(1)])]);
});
// With u = 1 + x as rounded: log(u)·x/(u - 1) corrects for the rounding.
registerKernelEmitter('Log1p', ({ x }) => {
  const u = binary('Add', [floats(x!), number(1)]);
  const log = unary('Log', u);
  const corrected = binary('Mul', [log, binary('Div', [x!, binary('Sub', [u, number(1)])])]);
  const isSmall = binary('Less', [unary('Abs', x!), number(0.5)], 'bool');
  const isLost = binary('Equal', [u, number(1)], 'bool');
  return where(isLost, x!, where(isSmall, corrected, log));
});

for (const [kernel, op] of [
  ['Add', 'Add'],
  ['Sub', 'Sub'],
  ['Multiply', 'Mul'],
  ['Maximum', 'Max'],
  ['Minimum', 'Min'],
] as const) {
  registerKernelEmitter(kernel, ({ a, b }) => binary(op, [numbers(a!), numbers(b!)]));
}
registerKernelEmitter('Pow', ({ a, b }) => binary('Pow', [numbers(a!), numbers(b!)]));
registerKernelEmitter('RealDiv', ({ a, b }) => binary('Div', [floats(a!), floats(b!)]));
registerKernelEmitter('SquaredDifference', ({ a, b }) => square(binary('Sub', [numbers(a!), numbers(b!)])));
registerKernelEmitter('AddN', (inputs) =>
  Object.values(inputs)
    .map(numbers)
    .reduce((sum, view) => binary('Add', [sum, view])),
);
registerKernelEmitter<{ clipValueMin: number; clipValueMax: number }>(
  'ClipByValue',
  ({ x }, { clipValueMin, clipValueMax }) => clip(numbers(x!), clipValueMin, clipValueMax),
);
registerKernelEmitter<{ dtype: string }>('Cast', ({ x }, { dtype }) => castTo(x!, dtype as Dtype));

registerKernelEmitter('Gelu', ({ x }) => unary('Gelu', x!, { domain: microsoft }));
registerKernelEmitter('QuickGelu', ({ x }) =>
  unary('QuickGelu', x!, { domain: microsoft, attributes: { alpha: { float: 1.702 } } }),
);
registerKernelEmitter('Silu', ({ x }) =>
  unary('QuickGelu', x!, { domain: microsoft, attributes: { alpha: { float: 1 } } }),
);

/** One operator on every element. */
export function unary(
  op: string,
  x: View,
  options: { domain?: string; dtype?: Dtype; attributes?: Readonly<Record<string, Attribute>> } = {},
): View {
  return viewOf(node(op, [x.value], x.value.shape, options), x.order);
}

/** One operator on elements that belong together, broadcast as in numpy. */
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

/** The elements of one where the mask says so, of the other elsewhere. */
export function where(mask: View, yes: View, no: View): View {
  // ONNX Runtime chooses among numbers only
  if (dtypeOf(yes) === 'bool') return castTo(where(mask, castTo(yes, 'int32'), castTo(no, 'int32')), 'bool');
  return binary('Where', [mask, yes, no], dtypeOf(yes));
}

export const square = (x: View): View => viewOf(node('Mul', [x.value, x.value], x.value.shape), x.order);
export const clip = (x: View, least: number, most: number): View =>
  viewOf(node('Clip', [x.value, scalarLike(x, least), scalarLike(x, most)], x.value.shape), x.order);

export function broadcastShape(
  shapes: readonly (readonly number[])[],
  rank = Math.max(...shapes.map(({ length }) => length)),
): number[] {
  return Array.from({ length: rank }, (_, axis) => {
    const sizes = shapes.map((shape) => shape[axis - rank + shape.length] ?? 1);
    return sizes.find((size) => size !== 1) ?? 1;
  });
}

export const castTo = (x: View, dtype: Dtype): View =>
  dtypeOf(x) === dtype ? x : viewOf(cast(x.value, dtype), x.order);
/** Float32, whatever it was. */
export const floats = (x: View): View => castTo(x, 'float32');
/** Numbers that can be counted with: booleans become integers. */
export const numbers = (x: View): View => (dtypeOf(x) === 'bool' ? castTo(x, 'int32') : x);

export function cast(value: Value, dtype: Dtype): Value {
  return value.dtype === dtype
    ? value
    : node('Cast', [value], value.shape, { dtype, attributes: { to: { int: elementTypes[dtype] } } });
}
export const scalar = (number: number, dtype: Dtype = 'float32'): Value =>
  constant(dtype === 'float32' ? Float32Array.of(number) : Int32Array.of(number), [], dtype);
export const number = (value: number, dtype?: Dtype): View => plainView(scalar(value, dtype));
const scalarLike = (x: View, value: number) => scalar(value, dtypeOf(x));
