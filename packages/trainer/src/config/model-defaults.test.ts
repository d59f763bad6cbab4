import { describe, expect, it } from 'vitest';
import type { ModelConfigs } from '@alignprop/diffusion';
import { fixtureJson } from '../../../../fixtures/index.js';
import { estimatorNames } from '../estimators/estimators.js';
import { parseAlignPropConfig } from './config.js';

const configs = (scheduler: string, time_cond_proj_dim: number | null = null): ModelConfigs => ({
  isXL: false,
  unet: { config: { time_cond_proj_dim } },
  scheduler: { config: fixtureJson(`${scheduler}/scheduler_config.json`) },
});
const plain = configs('sd15-tiny/model/scheduler');
const turbo = configs('sdxl-tiny/turbo/sd-turbo/scheduler');
const turboXL = configs('sdxl-tiny/turbo/sdxl-turbo/scheduler');
const consistency = configs('lcm/overlay/scheduler', 16);

const oneStep = {
  scheduler: 'config',
  sample_num_steps: 1,
  sample_guidance_scale: 0,
  truncated_rand_backprop_minmax: [0, 0],
};
const fourSteps = { scheduler: 'config', sample_num_steps: 4, truncated_rand_backprop_minmax: [0, 3] };

describe('the defaults of a configuration', () => {
  it.each([
    ['SD-Turbo', turbo, {}, oneStep],
    ['SDXL-Turbo', turboXL, {}, oneStep],
    ['SD-Turbo with more steps', turbo, { sampleNumSteps: 4 }, { ...fourSteps, sample_guidance_scale: 0 }],
    ['SD-Turbo through DDIM', turbo, { scheduler: 'ddim' }, { ...oneStep, scheduler: 'ddim' }],
    ['a latent consistency model', consistency, {}, { ...fourSteps, sample_guidance_scale: 8.5 }],
    ['an LCM-LoRA', plain, { scheduler: 'lcm' }, { ...fourSteps, scheduler: 'lcm', sample_guidance_scale: 1 }],
    ['SD-Turbo by the last step alone', turbo, { estimator: 'fixed' }, { truncated_backprop_timestep: 0 }],
  ] as const)('fit %s', (_, model, given, expected) => {
    expect(parseAlignPropConfig(given, model)).toMatchObject(expected);
  });

  it('are those of TRL for other models', () => {
    const own = parseAlignPropConfig({});
    expect(parseAlignPropConfig({}, plain)).toEqual(own);
    expect(own).toMatchObject({ scheduler: 'ddim', sample_num_steps: 50, sample_guidance_scale: 5 });
    // A model with a terminal SNR of 0 also starts at the last timestep.
    const rescaled = { ...turbo.scheduler.config, prediction_type: 'v_prediction', rescale_betas_zero_snr: true };
    expect(parseAlignPropConfig({}, { ...turbo, scheduler: { config: rescaled } })).toEqual(own);
  });

  it('fit every estimator: in one step those that can have a single one', () => {
    for (const estimator of estimatorNames) {
      const inSteps = (sampleNumSteps: number) => () => parseAlignPropConfig({ estimator, sampleNumSteps }, turbo);
      expect(inSteps(4), estimator).not.toThrow();
      if (['uniform', 'gaussian'].includes(estimator)) expect(inSteps(1)).toThrow(/Try backprop_strategy 'fixed'/);
      else if (['flowbp-bridge', 'flowbp-lagrange', 'leapalign'].includes(estimator))
        expect(inSteps(1)).toThrow(/sample_num_steps: got 1, expected [23] or more .* Use 'draft-k'/);
      else expect(inSteps(1), estimator).not.toThrow();
    }
  });
});
