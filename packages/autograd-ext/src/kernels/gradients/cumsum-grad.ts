import { cumsum } from '@tensorflow/tfjs-core';
import { replaceGradient } from '../registry/replace-gradient.js';

interface CumsumAttrs {
  readonly axis: number;
  readonly exclusive: boolean;
  readonly reverse: boolean;
}

/** Corrects the gradient of tf.cumsum: sums dy from the other end. (tfjs transposes it if the axis is not the last.) */
export const correctCumsum = () =>
  replaceGradient<CumsumAttrs>('Cumsum', (dy, _saved, { axis, exclusive, reverse }) => ({
    x: () => cumsum(dy, axis, exclusive, !reverse),
  }));
