import { fileURLToPath } from 'node:url';
import { randomNormal } from '@tensorflow/tfjs-core';
import { OnnxRuntimeEngine, random, trainable, useBackend } from '@alignprop/autograd-ext';
import { expectNoLeaks } from '@alignprop/autograd-ext/testing';
import { DDIMScheduler, EulerDiscreteScheduler, schedulerFor, StableDiffusionPipeline } from '@alignprop/diffusion';
import { addLora } from '@alignprop/lora';
import { beforeAll, describe, expect, it } from 'vitest';
import { Recognition } from './recognition.js';

const prompts = ['crab', 'red apple', 'panda face'];

describe('Recognition', () => {
  let base: StableDiffusionPipeline;
  beforeAll(async () => {
    await useBackend('wasm');
    const model = fileURLToPath(new URL('../../../cli/models/tiny-emoji', import.meta.url));
    base = await StableDiffusionPipeline.fromPretrained(model, { engine: new OnnxRuntimeEngine() });
  });

  it.each([DDIMScheduler, EulerDiscreteScheduler])('tells prompts apart, and without the adapter: %o', async (kind) => {
    const scheduler = kind.fromConfig(base.scheduler.config);
    const params = addLora(base.unet.params, { r: 2, loraAlpha: 2, targetModules: ['to_q', 'to_v'] }, random(1));
    const variables = trainable(params);
    // An adapter that spoils the model.
    for (const variable of Object.values(variables)) variable.assign(randomNormal(variable.shape, 0, 3, 'float32', 2));
    const before = Object.values(variables).map((variable) => [...variable.dataSync()]);
    const trained = base.with({ unet: base.unet.withParams(params), scheduler });
    const recognition = new Recognition(prompts, variables, { clip_skip: 0 });
    const drawing = base.with({ scheduler: DDIMScheduler.fromConfig(base.scheduler.config) });
    const { images, latents } = await drawing.generate('red apple', {
      ...{ numInferenceSteps: 10, guidanceScale: 4, seed: 3, numImagesPerPrompt: 2 },
      outputType: 'tensor',
    });
    images.dispose();
    await expectNoLeaks(async () => {
      expect(await recognition.recognise(trained, latents, 1)).toEqual([true, true]);
      expect(await recognition.recognise(trained, latents, 0)).toEqual([false, false]);
    });
    expect(Object.values(variables).map((variable) => [...variable.dataSync()])).toEqual(before);
  });

  it('is possible for an adapter of a model of many steps and several prompts', () => {
    expect(Recognition.isPossible(base, prompts, true)).toBe(true);
    expect(Recognition.isPossible(base, ['crab', 'crab'], true)).toBe(false);
    expect(Recognition.isPossible(base, prompts, false)).toBe(false);
    const fewStep = base.with({ scheduler: schedulerFor('lcm', base.scheduler.config) });
    expect(Recognition.isPossible(fewStep, prompts, true)).toBe(false);
  });
});
