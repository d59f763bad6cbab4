import { mul, tidy, transpose, type Tensor4D } from '@tensorflow/tfjs-core';
import { randn, type TorchGenerator } from '@alignprop/autograd-ext';

/** Standard normal noise of an NHWC shape, drawn in NCHW order: the numbers that torch draws for the same picture. */
export function drawNoise(
  [batch, height, width, channels]: readonly [number, number, number, number],
  generator: TorchGenerator,
): Tensor4D {
  return tidy(() => transpose(randn(generator, [batch, channels, height, width]) as Tensor4D, [0, 2, 3, 1]));
}

/** x_T: noise scaled to the scheduler's first step. */
export function initialLatents(
  shape: readonly [number, number, number, number],
  generator: TorchGenerator,
  initNoiseSigma: number,
): Tensor4D {
  return tidy(() => mul(drawNoise(shape, generator), initNoiseSigma));
}
