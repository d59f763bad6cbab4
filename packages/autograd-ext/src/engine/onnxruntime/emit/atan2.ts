import { registerKernelEmitter } from '../recorder/recorder.js';
import { type View } from '../recorder/view.js';
import { binary, floats, number, unary, where } from './elementwise.js';

// atan(a/b), half a turn further where b is negative, and a quarter of a turn where it is zero.
registerKernelEmitter('Atan2', ({ a, b }) => {
  const [y, x] = [floats(a!), floats(b!)];
  const isNegative = (view: View) => binary('Less', [view, number(0)], 'bool');
  const angle = unary('Atan', binary('Div', [y, x]));
  const halfTurn = where(isNegative(y), number(-Math.PI), number(Math.PI));
  const turned = where(isNegative(x), binary('Add', [angle, halfTurn]), angle);
  const quarter = binary('Mul', [unary('Sign', y), number(Math.PI / 2)]);
  return where(binary('Equal', [x, number(0)], 'bool'), quarter, turned);
});
