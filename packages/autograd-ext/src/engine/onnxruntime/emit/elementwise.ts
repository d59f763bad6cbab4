import { microsoft, type Dtype } from '../graph/graph.js';
import { registerKernelEmitter } from '../recorder/recorder.js';
import { dtypeOf } from '../recorder/view.js';
import { binary, castTo, clip, floats, number, numbers, square, unary, where } from './builders.js';

// Arithmetic, one element at a time. Many kernels of tfjs have an ONNX operator of the same name; those of the first
// list need floats, those of the second take integers as well.
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
// exp(x) - 1 = tanh(x/2)·(exp(x) + 1), which is exact near 0, where the difference cancels.
registerKernelEmitter('Expm1', ({ x }) => {
  const half = binary('Mul', [floats(x!), number(0.5)]);
  return binary('Mul', [unary('Tanh', half), binary('Add', [unary('Exp', floats(x!)), number(1)])]);
});
// log(1 + x) near 0 as log(u)·x/(u - 1), where u is the rounded 1 + x: the quotient corrects for the rounding.
registerKernelEmitter('Log1p', ({ x }) => {
  const u = binary('Add', [floats(x!), number(1)]);
  const log = unary('Log', u);
  const corrected = binary('Mul', [log, binary('Div', [x!, binary('Sub', [u, number(1)])])]);
  const isSmall = binary('Less', [unary('Abs', x!), number(0.5)], 'bool');
  const isRoundedOff = binary('Equal', [u, number(1)], 'bool');
  return where(isRoundedOff, x!, where(isSmall, corrected, log));
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
