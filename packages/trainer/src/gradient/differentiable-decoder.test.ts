import { abs, dispose, mean, mul, randomNormal, slice, sum, type Tensor4D } from '@tensorflow/tfjs-core';
import { TfjsEngine, useBackend } from '@alignprop/autograd-ext';
import { AutoencoderTiny, decodeImages, StableDiffusionPipeline } from '@alignprop/diffusion';
import { beforeAll, describe, expect, it } from 'vitest';
import { expectClose, fixtureJson, fixturePath } from '../../../../fixtures/index.js';
import { attachedStep } from '../estimators/plans.js';
import { AlignPropGradient } from './alignprop-gradient.js';
import { DifferentiableDecoder } from './differentiable-decoder.js';

describe('a reward decoder', () => {
  let pipeline: StableDiffusionPipeline;
  let tiny: AutoencoderTiny;
  beforeAll(async () => {
    await useBackend('wasm');
    const engine = new TfjsEngine();
    pipeline = await StableDiffusionPipeline.fromPretrained(fixturePath('sd15-tiny/model'), { engine });
    tiny = await AutoencoderTiny.fromPretrained(fixturePath('autoencoder-tiny/model'));
  });

  it("judges its own images, passes its gradient, and leaves pictures to the model's decoder", async () => {
    const [promptEmbeds, latents]: [never, Tensor4D] = [
      randomNormal([1, 77, pipeline.textEncoder.config.hidden_size], 0, 1, 'float32', 1) as never,
      randomNormal([1, 4, 4, 4], 0, 1, 'float32', 2),
    ];
    const options = { numInferenceSteps: 1, guidanceScale: 1, eta: 0, rewardDecoder: tiny };
    const gradient = new AlignPropGradient(pipeline, (images) => mul(mean(images, [1, 2, 3]), 7) as never, options);
    const plan = { steps: [attachedStep], shown: 'x_0', renoised: 0 } as const;
    const noise = () => latents;
    const step = gradient.begin({ promptEmbeds, latents, noise, plan, prompts: ['crab'], promptMetadata: [] });
    const end = randomNormal([1, 4, 4, 4], 0, 1, 'float32', 3) as Tensor4D;
    const trajectory = { steps: [], shown: 'x_0', latents: [end], modelOutputs: [] } as const;
    const judged = await step.judge(trajectory);
    const decode = pipeline.engine.compileVjp(decodeImages(tiny.config), { wrt: [0] });
    const expected = await decode(tiny.params, [end], judged.imageGradients);
    expectClose(judged.images, expected.value, 1e-5, 'judged images');
    expectClose(judged.latentGradient, expected.inputs[0]!, 1e-4, 'gradient of the latents');
    // The latents are those of the scheduler: the model's own decoder divides by another factor.
    expect([tiny.config.scaling_factor, pipeline.vae.config.scaling_factor]).toEqual([1, 0.18215]);
    expectClose(await step.pictures(trajectory, judged), await pipeline.decode(end), 1e-5, 'pictures');
    step.dispose();
    dispose([latents, end]);
  });

  it('decodes a window of the latents alone, and has no gradient outside it', async () => {
    const [latents, dy]: Tensor4D[] = [
      randomNormal([1, 4, 6, 4], 0, 1, 'float32', 2),
      randomNormal([1, 16, 24, 3], 0, 1, 'float32', 4),
    ];
    const decoder = new DifferentiableDecoder(pipeline);
    const part: Tensor4D = slice(latents!, [0, 1, 2, 0], [-1, 2, 3, -1]);
    const [whole, alone] = [
      await decoder.decode(latents!, { top: 1, left: 2, height: 2, width: 3 }),
      await decoder.decode(part),
    ];
    expectClose(whole.images, alone.images, 1e-6, 'images');
    const [gradient, wanted] = [await whole.backward(dy!), await alone.backward(dy!)];
    expectClose(slice(gradient, [0, 1, 2, 0], [-1, 2, 3, -1]), wanted, 1e-6, 'gradient');
    expect(sum(abs(gradient)).dataSync()[0]).toBeCloseTo(sum(abs(wanted)).dataSync()[0]!, 3);
    expect(gradient.shape).toEqual(latents!.shape);
    whole.release();
    alone.release();
    dispose([latents!, dy!, part, gradient, wanted, whole.images, alone.images]);
  });

  it('is refused for other latents, or larger images', () => {
    const config = fixtureJson<Record<string, unknown>>('autoencoder-tiny/model/config.json');
    const other = (changes: object) => () =>
      new DifferentiableDecoder(pipeline, new AutoencoderTiny({ ...config, ...changes }, {}));
    expect(other({ latent_channels: 16 })).toThrow(/rewardDecoder got latent_channels 16, expected 4/);
    const ofLevels = (levels: number) => ({
      decoder_block_out_channels: Array<number>(levels).fill(8),
      num_decoder_blocks: Array<number>(levels).fill(1),
    });
    expect(other(ofLevels(5))).toThrow(/rewardDecoder got 16 pixels per latent, expected at most 8/);
    expect(other(ofLevels(3))).not.toThrow();
  });
});
