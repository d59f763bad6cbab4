import { add, pad, reverse, slice, type Tensor } from '@tensorflow/tfjs-core';
import { replaceGradient } from '../registry/replace-gradient.js';

interface MirrorPadAttrs {
  readonly paddings: readonly (readonly [before: number, after: number])[];
  readonly mode: 'reflect' | 'symmetric';
}

/** Corrects the gradient of tf.mirrorPad: adds the gradient of the mirrored elements. (tfjs drops it.) */
export const correctMirrorPad = () =>
  replaceGradient<MirrorPadAttrs>('MirrorPad', (dy, _, { paddings, mode }) => ({
    x: () => paddings.reduce((grad, _pads, axis) => fold(grad, axis, paddings[axis]!, mode === 'reflect' ? 1 : 0), dy),
  }));

/**
 * Adds both ends of an axis of `dy`, reversed, to its inside.
 * @param offset 1 if the end elements are not mirrored themselves (reflect), 0 if they are (symmetric)
 */
function fold(dy: Tensor, axis: number, [before, after]: readonly [number, number], offset: number): Tensor {
  const size = dy.shape[axis]! - before - after;
  const mirrored = (from: number, count: number) => reverse(sliceAxis(dy, axis, from, count), axis);
  let dx = sliceAxis(dy, axis, before, size);
  if (before) dx = add(dx, padAxis(mirrored(0, before), axis, offset, size));
  if (after) dx = add(dx, padAxis(mirrored(before + size, after), axis, size - offset - after, size));
  return dx;
}

function sliceAxis(x: Tensor, axis: number, begin: number, size: number): Tensor {
  return slice(
    x,
    x.shape.map((_, i) => (i === axis ? begin : 0)),
    x.shape.map((n, i) => (i === axis ? size : n)),
  );
}

/** Pads an axis with zeros to `size`, with the values from `begin`. */
function padAxis(x: Tensor, axis: number, begin: number, size: number): Tensor {
  return pad(
    x,
    x.shape.map((n, i) => (i === axis ? [begin, size - begin - n] : [0, 0]) as [number, number]),
  );
}
