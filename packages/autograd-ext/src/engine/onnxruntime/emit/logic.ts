import { registerKernelEmitter } from '../recorder/recorder.js';
import { plainView, reshaped, type View } from '../recorder/view.js';
import { binary, castTo, floats, numbers, unary, where } from './builders.js';

// Comparisons, boolean operators and selection.

const comparisons = { Greater: 'Greater', GreaterEqual: 'GreaterOrEqual', Less: 'Less', LessEqual: 'LessOrEqual' };
for (const [kernel, op] of Object.entries(comparisons))
  registerKernelEmitter(kernel, ({ a, b }) => binary(op, [numbers(a!), numbers(b!)], 'bool'));
registerKernelEmitter('Equal', ({ a, b }) => binary('Equal', [a!, b!], 'bool'));
registerKernelEmitter('NotEqual', ({ a, b }) => unary('Not', binary('Equal', [a!, b!], 'bool')));

for (const [kernel, op] of [
  ['LogicalAnd', 'And'],
  ['LogicalOr', 'Or'],
  ['LogicalXor', 'Xor'],
] as const) {
  registerKernelEmitter(kernel, ({ a, b }) => binary(op, [castTo(a!, 'bool'), castTo(b!, 'bool')], 'bool'));
}
registerKernelEmitter('LogicalNot', ({ x }) => unary('Not', castTo(x!, 'bool')));
registerKernelEmitter('BitwiseAnd', ({ a, b }) => binary('BitwiseAnd', [a!, b!]));

registerKernelEmitter('IsNan', ({ x }) => isNaN(floats(x!)));
registerKernelEmitter('IsInf', ({ x }) => isInfinite(floats(x!)));
registerKernelEmitter('IsFinite', ({ x }) =>
  unary('Not', binary('Or', [isNaN(floats(x!)), isInfinite(floats(x!))], 'bool')),
);
const isNaN = (x: View) => unary('IsNaN', x, { dtype: 'bool' });
const isInfinite = (x: View) => unary('IsInf', x, { dtype: 'bool' });

registerKernelEmitter('Select', ({ condition, t, e }) => where(maskFor(condition!, t!), t!, e!));

/** The mask in a shape that broadcasts to t. In tfjs, a condition of rank 1 selects rows. */
function maskFor(condition: View, t: View): View {
  const rank = t.shape.length;
  const mask = castTo(condition, 'bool');
  if (mask.shape.length !== 1 || rank <= 1) return mask;
  return plainView(reshaped(mask.value, [mask.shape[0]!, ...Array<number>(rank - 1).fill(1)]));
}
