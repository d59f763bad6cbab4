import { dispose, tidy, type Tensor4D } from '@tensorflow/tfjs-core';
import { disposeTensors, random, useBackend } from '@alignprop/autograd-ext';
import { noisedTo, type StableDiffusionPipeline } from '@alignprop/diffusion';
import { beforeAll, describe, expect, it } from 'vitest';
import { expectClose } from '../../../../fixtures/index.js';
import { AlignPropGradient } from '../gradient/alignprop-gradient.js';
import {
  adaptedPipeline,
  expectNestedGradient,
  newInputs,
  noiseOf,
  reward,
  sampling,
} from './__fixtures__/nested-graph.js';
import { chainOf } from './__fixtures__/chains.js';
import { DirectAlign } from './direct-align.js';
import { drawPlan } from './plans.js';

let pipeline: StableDiffusionPipeline;
beforeAll(async () => {
  await useBackend('wasm');
  pipeline = await adaptedPipeline();
});

const planAt = (seed: number) => drawPlan(new DirectAlign(4, 'dataset'), chainOf(4), random(seed));

describe('DirectAlign from given images', () => {
  it.each([0, 1, 2, 3])('has the gradient of one graph at step %d', async (realigned) => {
    const drawn = { ...planAt(0), realigned };
    const steps = drawn.steps.map((_, i) => ({ weight: Number(i === realigned), coupling: 0 }));
    await expectNestedGradient(pipeline, { ...drawn, steps }, sampling.eta);
  });

  it('noises the given latents with noise that is drawn once, and walks no chain', async () => {
    const plan = planAt(3);
    const inputs = await newInputs(pipeline, plan);
    const noises: number[] = [];
    const noise = () => {
      noises.push(noises.length);
      return noiseOf(0);
    };
    const computed = await new AlignPropGradient(pipeline, reward, sampling).compute({ ...inputs, noise });
    expect(noises).toEqual([0]);
    const { steps, latents } = computed.trajectory;
    const step = pipeline.scheduler.timesteps(4)[plan.realigned!]!;
    expect(steps).toEqual([step]);
    const expected = tidy((): Tensor4D => noisedTo(pipeline.scheduler, step, inputs.latents, noiseOf(0)));
    expectClose(latents[0]!, expected, 1e-6, 'noised');
    dispose(expected);
    disposeTensors(computed);
  });
});
