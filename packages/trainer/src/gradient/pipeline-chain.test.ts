import { zeros, type Tensor3D, type Tensor4D } from '@tensorflow/tfjs-core';
import { useBackend } from '@alignprop/autograd-ext';
import { expectNoLeaks } from '@alignprop/autograd-ext/testing';
import { beforeAll, expect, it } from 'vitest';
import type { GuidedUNet } from './guided-unet.js';
import { PipelineChain } from './pipeline-chain.js';

beforeAll(() => useBackend('cpu'));

it('frees the timestep when a prediction or its VJP throws', () =>
  expectNoLeaks(async () => {
    const fail = () => Promise.reject(new Error('out of memory'));
    const config = { time_cond_proj_dim: null, addition_embed_type: null };
    const unet = {
      pipeline: { scheduler: { inputScale: () => 1 }, unet: { config, params: {} } },
      reference: { predict: fail, params: {} },
      trainsEmbeds: false,
      vjp: () => fail,
    } as unknown as GuidedUNet;
    const promptEmbeds: Tensor3D = zeros([1, 2, 3]);
    const latents: Tensor4D = zeros([1, 2, 2, 4]);
    const chain = new PipelineChain(unet, { promptEmbeds }, { numInferenceSteps: 1, guidanceScale: 1, eta: 0 });
    const step = { t: 500, prevT: 250 } as never;
    await expect(chain.predictionVjp(latents, step, latents, true, 0)).rejects.toThrow('out of memory');
    await expect(chain.referencePrediction(latents, step)).rejects.toThrow('out of memory');
    chain.dispose();
    return [promptEmbeds, latents];
  }));
