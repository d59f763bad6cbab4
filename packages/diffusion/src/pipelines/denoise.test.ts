import { clone, ones, type Tensor3D, type Tensor4D } from '@tensorflow/tfjs-core';
import { useBackend } from '@alignprop/autograd-ext';
import { expectNoLeaks } from '@alignprop/autograd-ext/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { DDIMScheduler } from '../schedulers/ddim.js';
import { denoise } from './denoise.js';

beforeAll(() => useBackend('cpu'));

describe('denoise', () => {
  it('frees everything when the noise of a step cannot be drawn', async () => {
    const predict = async (_: unknown, ...[sample]: readonly unknown[]) => [clone(sample as Tensor4D)];
    await expectNoLeaks(async () => {
      const latents = ones([1, 2, 2, 4]) as Tensor4D;
      const promptEmbeds = ones([1, 3, 2]) as Tensor3D;
      const noise = () => {
        throw new Error('no noise');
      };
      const chain = denoise(predict, {}, new DDIMScheduler({}), latents, {
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
});
