import { registerKernelEmitter } from '../recorder/recorder.js';
import { type View } from '../recorder/view.js';
import { binary, floats, number, unary, where } from './builders.js';

// The angle of the point (x, y): atan(y/x), plus or minus π where x is negative, and ±π/2 where x is zero.
registerKernelEmitter('Atan2', ({ a, b }) => {
  const [y, x] = [floats(a!), floats(b!)];
  const isNegative = (view: View) => binary('Less', [view, number(0)], 'bool');
  const angle = unary('Atan', binary('Div', [y, x]));
  const halfTurn = where(isNegative(y), number(-Math.PI), number(Math.PI));
  const inQuadrant = where(isNegative(x), binary('Add', [angle, halfTurn]), angle);
  const quarterTurn = binary('Mul', [unary('Sign', y), number(Math.PI / 2)]);
  return where(binary('Equal', [x, number(0)], 'bool'), quarterTurn, inQuadrant);
});
