import { clone, mul, ones, tanh, tidy, type Tensor, type Tensor3D, type Tensor4D } from '@tensorflow/tfjs-core';
import { random, useBackend } from '@alignprop/autograd-ext';
import { expectNoLeaks } from '@alignprop/autograd-ext/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { expectClose } from '../../../../fixtures/index.js';
import { UNet2DConditionModel } from '../models/unet-2d-condition.js';
import { schedulerFor, schedulerNames } from '../schedulers/create-scheduler.js';
import { DDIMScheduler } from '../schedulers/ddim.js';
import type { ModelCall } from '../schedulers/scheduler.js';
import { denoise } from './denoise.js';
import { drawNoise } from './latents.js';

beforeAll(() => useBackend('cpu'));

const unet = new UNet2DConditionModel({}, {});

describe('denoise', () => {
  it('frees everything when the noise of a step cannot be drawn', async () => {
    const predict = async (_: unknown, ...[sample]: readonly unknown[]) => [clone(sample as Tensor4D)];
    await expectNoLeaks(async () => {
      const latents = ones([1, 2, 2, 4]) as Tensor4D;
      const promptEmbeds = ones([1, 3, 2]) as Tensor3D;
      const noise = () => {
        throw new Error('no noise');
      };
      const chain = denoise(predict, unet, new DDIMScheduler({}), latents, {
        promptEmbeds,
        numInferenceSteps: 2,
        guidanceScale: 1,
        eta: 1,
        noise,
      });
      await expect(chain.next()).rejects.toThrow('no noise');
      return [latents, promptEmbeds];
    });
  });

  it.each([...schedulerNames, 'PNDMScheduler'])(
    'scales the input, draws the noise and keeps the calls that a scheduler needs: %s',
    async (name) => {
      const config = { beta_schedule: 'scaled_linear', clip_sample: false, skip_prk_steps: name === 'pndm' };
      const scheduler = schedulerFor(name, config);
      const latents = drawNoise([1, 4, 4, 4], random(1));
      const model = (sample: Tensor, t: number, scale = 1) => mul<Tensor4D>(tanh(mul(sample, scale)), 0.8 + t / 3000);
      const predict = async (_: unknown, ...[sample, t, , , scale]: readonly Tensor[]) => [
        tidy(() => model(sample!, t!.dataSync()[0]!, scale?.dataSync()[0])),
      ];
      const chain = denoise(predict, unet, scheduler, latents, {
        promptEmbeds: ones([1, 3, 2]) as Tensor3D,
        numInferenceSteps: 5,
        guidanceScale: 1,
        eta: 0.5,
        generator: random(2),
      });
      const generator = random(2);
      const history: ModelCall[] = [];
      let sample = latents;
      for await (const { step, latents: actual } of chain) {
        const modelOutput = model(sample, step.t, scheduler.inputScale(step));
        const noise = scheduler.drawsNoise(step, 0.5) ? drawNoise([1, 4, 4, 4], generator) : undefined;
        const next = scheduler.step(modelOutput, step, sample, { eta: 0.5, noise, history }).prevSample;
        history.push({ modelOutput, sample });
        expectClose(actual, next, 1e-5, `sample after call ${step.index}`);
        sample = next;
      }
      expect(history).toHaveLength(scheduler.timesteps(5).length);
    },
  );
});
