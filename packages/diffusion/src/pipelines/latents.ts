import { concat, mul, tidy, transpose, type Tensor4D } from '@tensorflow/tfjs-core';
import { randn, type TorchGenerator } from '@alignprop/autograd-ext';

/** Draws the noise of a batch, or a list with one generator per image of which each draws the noise of its image. */
export type NoiseGenerator = TorchGenerator | readonly TorchGenerator[];

/**
 * Draws standard normal noise of an NHWC shape. Draws in NCHW order, so that each element is the number torch draws for
 * it.
 * @throws if there is another number of generators than of images
 */
export function drawNoise(shape: Readonly<Tensor4D['shape']>, generator: NoiseGenerator): Tensor4D {
  const [batch, height, width, channels] = shape;
  if (!isList(generator)) return drawBatch(shape, generator);
  if (generator.length !== batch)
    throw new Error(`drawNoise: generator got a list of ${generator.length}, expected ${batch}, one per image.`);
  return tidy(() => concat(generator.map((own) => drawBatch([1, height, width, channels], own))));
}

const isList = (generator: NoiseGenerator): generator is readonly TorchGenerator[] => Array.isArray(generator);

function drawBatch([batch, height, width, channels]: Readonly<Tensor4D['shape']>, generator: TorchGenerator): Tensor4D {
  return tidy(() => transpose(randn(generator, [batch, channels, height, width]) as Tensor4D, [0, 2, 3, 1]));
}

/** Draws x_T: standard normal noise times the scheduler's `initNoiseSigma`. */
export function initialLatents(
  shape: Readonly<Tensor4D['shape']>,
  generator: NoiseGenerator,
  initNoiseSigma: number,
): Tensor4D {
  return tidy(() => mul(drawNoise(shape, generator), initNoiseSigma));
}
