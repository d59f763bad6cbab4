import {
  add,
  avgPool,
  dispose,
  mean,
  mul,
  randomNormal,
  square,
  sub,
  tidy,
  type Tensor1D,
  type Tensor2D,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { TfjsEngine, useBackend } from '@alignprop/autograd-ext';
import { beforeAll, describe, expect, it } from 'vitest';
import { expectClose, fixturePath } from '../../../../fixtures/index.js';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { LinearDecoder, linearDecode } from '../models/linear-decoder.js';
import { saveModel } from '../models/save-model.js';
import { fitLinearDecoder } from './fit-linear-decoder.js';
import { StableDiffusionPipeline } from './stable-diffusion.js';

const folder = temporaryFolder();

describe('fitLinearDecoder', () => {
  let pipeline: StableDiffusionPipeline;
  let latents: Tensor4D;
  beforeAll(async () => {
    await useBackend('wasm');
    pipeline = await StableDiffusionPipeline.fromPretrained(fixturePath('sd15-tiny/model'), {
      engine: new TfjsEngine(),
    });
    latents = randomNormal([2, 6, 6, 4], 0, 1, 'float32', 3);
  });

  it('has the least squared error among the decoders near it', async () => {
    const { decoder, explained } = await fitLinearDecoder(pipeline, latents);
    const images = await pipeline.decode(latents);
    const factor = pipeline.vaeScaleFactor;
    const errorOf = (decode: () => Tensor4D): number =>
      tidy(() => mean(square(sub(decode(), avgPool(images, factor, factor, 'valid')))).dataSync()[0]!);
    const least = errorOf(() => linearDecode(decoder.params, latents));
    const { weight, bias } = weightsOf(decoder);
    for (const seed of [1, 2, 3])
      for (const size of [0.01, -0.01]) {
        const moved = tidy(() =>
          errorOf(() =>
            linearDecode(
              {
                weight: add(weight, randomNormal([3, 4], 0, size, 'float32', seed)),
                bias: add(bias, randomNormal([3], 0, size, 'float32', 10 + seed)),
              },
              latents,
            ),
          ),
        );
        expect(moved).toBeGreaterThan(least);
      }
    const spread = errorOf(() => mean(avgPool(images, factor, factor, 'valid'), [0, 1, 2], true));
    expect(explained).toBeCloseTo(1 - least / spread, 4);
    dispose([images, weight, bias]);
  });

  it('recovers a linear decoder exactly, and a channel without values gets no weight', async () => {
    const linear = (x: Tensor4D) => tidy(() => linearDecode({ weight: expected.weight, bias: expected.bias }, x));
    const expected = {
      weight: randomNormal([3, 4], 0, 1, 'float32', 5) as never,
      bias: randomNormal([3], 0, 1, 'float32', 6) as never,
    };
    const stub = { vaeScaleFactor: 1, decode: async (x: Tensor4D) => linear(x) };
    const { decoder, explained } = await fitLinearDecoder(stub as never, latents);
    expectClose(weightsOf(decoder).weight, expected.weight, 1e-4, 'weight');
    expectClose(weightsOf(decoder).bias, expected.bias, 1e-4, 'bias');
    expect(explained).toBeCloseTo(1, 6);
    const empty = tidy(() => mul(latents, [[1, 1, 0, 1]]) as Tensor4D);
    const fitted = await fitLinearDecoder(stub as never, empty);
    const values = weightsOf(fitted.decoder).weight.dataSync();
    expect([values[2], values[6], values[10]]).toEqual([0, 0, 0]);
    dispose([empty]);
  });

  it('is saved and read as a folder', async () => {
    const { decoder } = await fitLinearDecoder(pipeline, latents);
    await saveModel(`${folder}/linear`, 'LinearDecoder', decoder);
    const read = await LinearDecoder.fromPretrained(`${folder}/linear`);
    expect(read.config).toEqual({ decoder_type: 'linear', latent_channels: 4 });
    const [before, after] = [linearDecode(decoder.params, latents), (await decoded(pipeline, read, latents))!];
    expectClose(after, before, 1e-6, 'images');
  });
});

const weightsOf = ({ params }: LinearDecoder) => params as unknown as { weight: Tensor2D; bias: Tensor1D };

/** Decodes on an engine, which reads the weights of files. */
async function decoded({ engine }: StableDiffusionPipeline, { params }: LinearDecoder, latents: Tensor4D) {
  const [images] = await engine.compile((weights, x) => linearDecode(weights, x as Tensor4D))(params, latents);
  return images;
}
