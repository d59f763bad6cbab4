import {
  add,
  div,
  matMul,
  mul,
  pow,
  reshape,
  square,
  sub,
  tensor2d,
  type Tensor,
  type Tensor2D,
} from '@tensorflow/tfjs-core';
import { registerDecomposition } from '../recorder/recorder.js';

// Local response normalization across channels, and its gradient.

interface LocalResponseAttrs {
  readonly depthRadius: number;
  readonly bias: number;
  readonly alpha: number;
  readonly beta: number;
}

// y = x·s^-β, s = bias + α·(sum of x² over neighbouring channels)
registerDecomposition<LocalResponseAttrs>('LRN', ({ x }, attrs) => mul(x!, pow(normalizer(x!, attrs), -attrs.beta)));

// dx = dy·s^-β - 2αβ·x·(sum of dy·y/s over neighbouring channels)
registerDecomposition<LocalResponseAttrs>('LRNGrad', ({ x, y, dy }, attrs) => {
  const s = normalizer(x!, attrs);
  const neighbours = sumOfNeighbours(div(mul(dy!, y!), s), attrs.depthRadius);
  return sub(mul(dy!, pow(s, -attrs.beta)), mul(mul(x!, neighbours), 2 * attrs.alpha * attrs.beta));
});

const normalizer = (x: Tensor, { depthRadius, bias, alpha }: LocalResponseAttrs): Tensor =>
  add(mul(sumOfNeighbours(square(x), depthRadius), alpha), bias);

/** Sums over the channels at most `radius` away, by a product with a band matrix of ones. */
function sumOfNeighbours(x: Tensor, radius: number): Tensor {
  const channels = x.shape.at(-1)!;
  const band = Array.from({ length: channels ** 2 }, (_, i) =>
    Number(Math.abs(Math.floor(i / channels) - (i % channels)) <= radius),
  );
  return reshape(matMul(reshape(x, [-1, channels]) as Tensor2D, tensor2d(band, [channels, channels])), x.shape);
}
