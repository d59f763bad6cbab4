import { registerKernelEmitter } from '../recorder/recorder.js';
import { dtypeOf, type View } from '../recorder/view.js';
import { binary, number, numbers, unary, where } from './builders.js';

// Division as tfjs rounds it: the remainder has the sign of the divisor, the quotient is rounded down.
registerKernelEmitter('Mod', ({ a, b }) => modulo(numbers(a!), numbers(b!)));
registerKernelEmitter('FloorDiv', ({ a, b }) => {
  const [x, y] = [numbers(a!), numbers(b!)];
  if (dtypeOf(x) === 'float32') return unary('Floor', binary('Div', [x, y]));
  const divisor = nonZero(y);
  const quotient = binary('Div', [binary('Sub', [x, binary('Mod', [x, divisor])]), divisor]);
  return where(binary('Equal', [y, number(0, 'int32')], 'bool'), number(0, 'int32'), quotient);
});

function modulo(a: View, b: View): View {
  if (dtypeOf(a) !== 'float32') return binary('Mod', [a, nonZero(b)]);
  const remainder = truncated(a, b);
  const isNegative = (x: View) => binary('Less', [x, number(0)], 'bool');
  const signsDiffer = binary('Xor', [isNegative(a), isNegative(b)], 'bool');
  return where(signsDiffer, truncated(binary('Add', [remainder, b]), b), remainder);
}

/** The remainder with the sign of the dividend: a - b·trunc(a/b), without rounding errors. */
const truncated = (a: View, b: View): View => binary('Mod', [a, b], 'float32', { fmod: { int: 1 } });

/** Replaces zeros by ones: an integer division by zero would kill the process. */
const nonZero = (x: View): View => where(binary('Equal', [x, number(0, 'int32')], 'bool'), number(1, 'int32'), x);
