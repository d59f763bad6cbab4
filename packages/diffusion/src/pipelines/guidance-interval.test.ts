import { dispose, type Tensor } from '@tensorflow/tfjs-core';
import { TfjsEngine, useBackend } from '@alignprop/autograd-ext';
import { expectNoLeaks } from '@alignprop/autograd-ext/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { expectClose, fixturePath } from '../../../../fixtures/index.js';
import { StableDiffusionPipeline } from './stable-diffusion.js';
import type { GenerateOptions } from './generate-options.js';
import { guidedPrediction } from './guidance.js';

describe('guidanceInterval', () => {
  let pipeline: StableDiffusionPipeline;
  beforeAll(async () => {
    await useBackend('wasm');
    pipeline = await StableDiffusionPipeline.fromPretrained(fixturePath('sd2-tiny/model'), {
      engine: new TfjsEngine(),
    });
    dispose((await draw({})).latents); // reads the weights
  });

  /** The end of the chain, and how many rows each call of the UNet has. */
  async function draw(options: Partial<GenerateOptions>): Promise<{ latents: Tensor; rows: number[] }> {
    const rows: number[] = [];
    const spying = pipeline.with({});
    spying.denoise = (latents, { predict: _, ...rest }) =>
      pipeline.denoise(latents, {
        ...rest,
        predict: async (params, ...inputs) => {
          rows.push(inputs[2]!.shape[0]!);
          return predict(params, ...inputs);
        },
      });
    const predict = pipeline.engine.compile(guidedPrediction(pipeline.unet.config));
    const settings = { numInferenceSteps: 4, guidanceScale: 6, height: 16, width: 16, seed: 3 };
    const result = await spying.generate('a cat', { ...settings, ...options, outputType: 'tensor' });
    result.images.dispose();
    return { latents: result.latents, rows };
  }

  it('guides the calls inside it, and calls the UNet for the prompt alone at the others', () =>
    expectNoLeaks(async () => {
      const { latents, rows } = await draw({ guidanceInterval: [0.25, 0.75] });
      expect(rows).toEqual([1, 2, 2, 1]);
      return latents;
    }));

  it('is the whole chain from 0 to 1, and none of it where it is empty', async () => {
    const [whole, all] = [await draw({}), await draw({ guidanceInterval: [0, 1] })];
    expectClose(all.latents, whole.latents, 1e-7, 'the whole chain');
    const [none, unguided] = [await draw({ guidanceInterval: [0.5, 0.5] }), await draw({ guidanceScale: 1 })];
    expect(none.rows).toEqual([1, 1, 1, 1]);
    expectClose(none.latents, unguided.latents, 1e-6, 'no guidance');
    expect(() => expectClose(none.latents, whole.latents, 1e-2, 'guidance')).toThrow();
    dispose([whole.latents, all.latents, none.latents, unguided.latents]);
  });

  it.each([[[0.8, 0.2]], [[-0.1, 1]], [[0, 1.5]], [[NaN, 1]]] as const)('refuses %s', async (guidanceInterval) => {
    await expect(draw({ guidanceInterval: guidanceInterval as never })).rejects.toThrow(
      /guidanceInterval: got \[.*\], expected two fractions of the chain with 0 <= first <= end <= 1/,
    );
  });
});
