import type { Tensor } from '@tensorflow/tfjs-core';
import { useBackend } from '@alignprop/autograd-ext';
import { beforeAll, describe, expect, it } from 'vitest';
import { fixtureTensors } from '../../../../fixtures/index.js';
import { alphasCumprod, type BetaConfig } from './betas.js';

const linear: BetaConfig = {
  num_train_timesteps: 1000,
  beta_start: 0.0001,
  beta_end: 0.02,
  beta_schedule: 'linear',
  trained_betas: null,
};
const sd15: BetaConfig = { ...linear, beta_start: 0.00085, beta_end: 0.012, beta_schedule: 'scaled_linear' };
const cases: Record<string, BetaConfig> = {
  linear,
  sd15,
  zsnr: { ...sd15, rescale_betas_zero_snr: true },
  cosine: { ...linear, beta_schedule: 'squaredcos_cap_v2' },
};

describe('alphasCumprod', () => {
  let io: Record<string, Tensor>;
  beforeAll(async () => {
    await useBackend();
    io = await fixtureTensors('schedulers/io.safetensors');
  });

  it.each(Object.entries(cases))('computes the numbers of torch: %s', (name, config) => {
    const expected = io[`alphas_cumprod.${name}`]!.dataSync();
    const actual = alphasCumprod('test', config);
    expect(actual).toHaveLength(expected.length);
    const worst = actual.reduce((most, alpha, i) => Math.max(most, Math.abs(alpha - expected[i]!)), 0);
    expect(worst).toBeLessThanOrEqual(name === 'zsnr' ? 1.2e-7 : 0);
  });

  it('ends at ᾱ = 0 with rescale_betas_zero_snr', () => expect(alphasCumprod('test', cases.zsnr!).at(-1)).toBe(0));

  it('uses trained_betas instead of a schedule, and reports a wrong number of them', () => {
    const trained_betas = [0.5, 0.25];
    expect([...alphasCumprod('test', { ...linear, num_train_timesteps: 2, trained_betas })]).toEqual([0.5, 0.375]);
    expect(() => alphasCumprod('test', { ...linear, trained_betas })).toThrow(
      /trained_betas got 2 values, expected num_train_timesteps = 1000/,
    );
  });

  it('rejects a schedule without timesteps', () => {
    expect(() => alphasCumprod('test', { ...linear, num_train_timesteps: 0 })).toThrow(/num_train_timesteps got 0/);
  });
});
