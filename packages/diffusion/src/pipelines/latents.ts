import { mul, tidy, transpose, type Tensor4D } from '@tensorflow/tfjs-core';
import { randn, type TorchGenerator } from '@alignprop/autograd-ext';

/**
 * Draws standard normal noise of an NHWC shape. Draws in NCHW order, so that each element is the number torch draws for
 * it.
 */
export function drawNoise(
  [batch, height, width, channels]: Readonly<Tensor4D['shape']>,
  generator: TorchGenerator,
): Tensor4D {
  return tidy(() => transpose(randn(generator, [batch, channels, height, width]) as Tensor4D, [0, 2, 3, 1]));
}

/** Draws x_T: standard normal noise times the scheduler's `initNoiseSigma`. */
export function initialLatents(
  shape: Readonly<Tensor4D['shape']>,
  generator: TorchGenerator,
  initNoiseSigma: number,
): Tensor4D {
  return tidy(() => mul(drawNoise(shape, generator), initNoiseSigma));
}
