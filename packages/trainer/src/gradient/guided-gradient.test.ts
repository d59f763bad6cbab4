import { disposeTensors, random, useBackend } from '@alignprop/autograd-ext';
import { expectNoLeaks } from '@alignprop/autograd-ext/testing';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import { beforeAll, describe, expect, it } from 'vitest';
import { expectClose } from '../../../../fixtures/index.js';
import { chainOf } from '../estimators/__fixtures__/chains.js';
import { adaptedPipeline, newInputs, reward, sampling } from '../estimators/__fixtures__/nested-graph.js';
import { lastK } from '../estimators/draft.js';
import { drawPlan } from '../estimators/plans.js';
import { AlignPropGradient, type AlignPropGradientOptions } from './alignprop-gradient.js';

describe('a gradient of the conditional branch', () => {
  let pipeline: StableDiffusionPipeline;
  beforeAll(async () => {
    await useBackend('wasm');
    pipeline = await adaptedPipeline();
  });

  const plan = drawPlan(lastK(2), chainOf(4), random(0));
  async function compute(options: Partial<AlignPropGradientOptions>) {
    const inputs = await newInputs(pipeline, plan);
    return new AlignPropGradient(pipeline, reward, { ...sampling, ...options }).compute(inputs);
  }

  it.each([0, 1])('is that of the whole prediction where guidance %d turns guidance off', async (guidanceScale) => {
    const whole = await compute({ guidanceScale });
    for (const cfgGradientCompensation of ['none', 'loss', 'step'] as const) {
      const conditional = await compute({ guidanceScale, cfgGradient: 'conditional', cfgGradientCompensation });
      for (const [path, gradient] of Object.entries(whole.params))
        expectClose(conditional.params[path]!, gradient, 1e-6, `${cfgGradientCompensation}: ${path}`);
    }
  });

  it('frees what it creates, also where the engine fails', async () => {
    disposeTensors(await compute({ cfgGradient: 'conditional' })); // reads the weights
    const inputs = await newInputs(pipeline, plan);
    await expectNoLeaks(async () => {
      const options = { ...sampling, cfgGradient: 'conditional' } as const;
      disposeTensors(await new AlignPropGradient(pipeline, reward, options).compute(inputs));
      const failing = new AlignPropGradient(pipeline, reward, options);
      failing.judge.judge = () => Promise.reject(new Error('no reward'));
      await expect(failing.compute(inputs)).rejects.toThrow('no reward');
    });
  });
});
