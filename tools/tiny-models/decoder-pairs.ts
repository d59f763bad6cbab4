import { add, concat, dispose, mul, tensor4d, tidy, type Tensor4D } from '@tensorflow/tfjs-core';
import { randn, type TorchGenerator } from '@alignprop/autograd-ext';
import { vaeDecode, vaeEncode, type AutoencoderKLConfig, type StableDiffusionPipeline } from '@alignprop/diffusion';
import { rowsOf, stacked } from './rows.js';

/** The largest standard deviation of the noise on latents: the chain's ends are no encodings of pictures. */
const largestNoise = 0.6;

/** A picture, its latents and what the model's own decoder makes of them, without and with noise on the latents. */
export interface Pair {
  /** `[64, 64, 3]` in [-1, 1] */
  readonly picture: Float32Array;
  /** Scaled latents, `[16, 16, 4]`: the encoding of the picture, and the same with noise. */
  readonly latents: readonly [clean: Float32Array, noisy: Float32Array];
  /** `[64, 64, 3]` in about [-1, 1] */
  readonly decoded: readonly [clean: Float32Array, noisy: Float32Array];
}

/** Encodes pictures with the model's own encoder, and decodes them with its decoder. */
export async function decoderPairs(
  { engine, vae }: StableDiffusionPipeline,
  pictures: readonly Float32Array[],
  generator: TorchGenerator,
  batchSize = 16,
): Promise<readonly Pair[]> {
  const config = vae.config as AutoencoderKLConfig;
  const scale = config.scaling_factor;
  const encode = engine.compile((params, x) => mul(vaeEncode(config, params, x as Tensor4D).mean, scale));
  const decode = engine.compile((params, z) => vaeDecode(config, params, mul(z as Tensor4D, 1 / scale)));
  const pairs: Pair[] = [];
  for (let first = 0; first < pictures.length; first += batchSize) {
    const batch = pictures.slice(first, first + batchSize);
    const images = stacked<Tensor4D>(batch, [64, 64, 3]);
    const [clean] = await encode(vae.params, images);
    const noisy = withNoise(clean as Tensor4D, generator);
    const both = concat([clean as Tensor4D, noisy]);
    const [decoded] = await decode(vae.params, both);
    const [latentRows, imageRows] = [await rowsOf(both), await rowsOf(decoded as Tensor4D)];
    const at = <T>(rows: readonly T[], i: number) => [rows[i]!, rows[batch.length + i]!] as const;
    batch.forEach((picture, i) => pairs.push({ picture, latents: at(latentRows, i), decoded: at(imageRows, i) }));
    dispose([images, clean!, noisy, both, decoded!]);
  }
  return pairs;
}

/** Adds noise whose standard deviation is another for each member of the batch. */
const withNoise = (latents: Tensor4D, generator: TorchGenerator): Tensor4D =>
  tidy(() => {
    const [batch] = latents.shape;
    const deviations = Array.from({ length: batch }, () => (generator.randint(0, 1001, 1)[0]! / 1000) * largestNoise);
    return add(latents, mul(randn(generator, latents.shape), tensor4d(deviations, [batch, 1, 1, 1])) as Tensor4D);
  });
