import { describe, expect, it } from 'vitest';
import { testScheduler } from './__fixtures__/test-scheduler.js';
import { createScheduler, schedulers } from './create-scheduler.js';
import type { SchedulerConfig } from './scheduler.js';

/** Stable Diffusion's options; each class reads those it has. */
const stableDiffusion: SchedulerConfig = {
  num_train_timesteps: 1000,
  beta_start: 0.00085,
  beta_end: 0.012,
  beta_schedule: 'scaled_linear',
  clip_sample: false,
  set_alpha_to_one: false,
  skip_prk_steps: true,
  steps_offset: 1,
};

/** Further options to run the contract test with. */
const variants: { readonly [Name in keyof typeof schedulers]?: Readonly<Record<string, SchedulerConfig>> } = {
  DDIMScheduler: {
    v_prediction: { prediction_type: 'v_prediction' },
    sample: { prediction_type: 'sample' },
    clipping: { clip_sample: true, clip_sample_range: 0.7 },
    thresholding: { thresholding: true, dynamic_thresholding_ratio: 0.9, sample_max_value: 100 },
  },
  PNDMScheduler: {
    'v_prediction, trailing': { prediction_type: 'v_prediction', timestep_spacing: 'trailing' },
  },
};

const names = Object.keys(schedulers) as (keyof typeof schedulers)[];

for (const name of names) {
  const create = (options: SchedulerConfig) => () => new schedulers[name]({ ...stableDiffusion, ...options });
  testScheduler(name, create({}));
  for (const [variant, options] of Object.entries(variants[name] ?? {}))
    testScheduler(`${name} (${variant})`, create(options));
}

describe.each(names)('the table entry %s', (name) => {
  it('is the class of that name, which createScheduler recreates from its config', () => {
    const { config } = new schedulers[name](stableDiffusion);
    expect(config._class_name).toBe(name);
    const recreated = createScheduler(config);
    expect(recreated).toBeInstanceOf(schedulers[name]);
    expect(recreated.config).toEqual(config);
  });
});
