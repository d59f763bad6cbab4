import { add, pad, reverse, slice, type Tensor } from '@tensorflow/tfjs-core';
import { replaceGradient } from '../registry/replace-gradient.js';

interface MirrorPadAttrs {
  readonly paddings: readonly (readonly [before: number, after: number])[];
  readonly mode: 'reflect' | 'symmetric';
}

/** The gradient of tf.mirrorPad: what was mirrored is folded back. (tfjs drops it.) */
export const correctMirrorPad = () =>
  replaceGradient<MirrorPadAttrs>('MirrorPad', (dy, _, { paddings, mode }) => ({
    x: () => paddings.reduce((grad, _pads, axis) => fold(grad, axis, paddings[axis]!, mode === 'reflect' ? 1 : 0), dy),
  }));

/** Folds both ends of an axis; the mirror lies on the last element (offset 1) or beyond it (0). */
function fold(dy: Tensor, axis: number, [before, after]: readonly [number, number], offset: number): Tensor {
  const size = dy.shape[axis]! - before - after;
  let dx = part(dy, axis, before, size);
  if (before) dx = add(dx, placed(reverse(part(dy, axis, 0, before), axis), axis, offset, size));
  if (after)
    dx = add(dx, placed(reverse(part(dy, axis, before + size, after), axis), axis, size - offset - after, size));
  return dx;
}

function part(x: Tensor, axis: number, begin: number, size: number): Tensor {
  return slice(
    x,
    x.shape.map((_, i) => (i === axis ? begin : 0)),
    x.shape.map((n, i) => (i === axis ? size : n)),
  );
}

function placed(x: Tensor, axis: number, begin: number, size: number): Tensor {
  return pad(
    x,
    x.shape.map((n, i) => (i === axis ? [begin, size - begin - n] : [0, 0]) as [number, number]),
  );
}
