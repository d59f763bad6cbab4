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
  DDPMScheduler: { 'clipping, sample': { clip_sample: true, prediction_type: 'sample', clip_sample_range: 1.33 } },
  DEISMultistepScheduler: { 'order 3, karras': { solver_order: 3, use_karras_sigmas: true } },
  DPMSolverMultistepScheduler: {
    'sde, order 3, lu': { algorithm_type: 'sde-dpmsolver++', solver_order: 3, use_lu_lambdas: true },
    thresholding: { thresholding: true, sample_max_value: 2, prediction_type: 'v_prediction' },
    'sde-dpmsolver, heun': { algorithm_type: 'sde-dpmsolver', solver_type: 'heun', final_sigmas_type: 'sigma_min' },
  },
  DPMSolverSinglestepScheduler: {
    'dpmsolver, order 3': { algorithm_type: 'dpmsolver', solver_order: 3, final_sigmas_type: 'sigma_min' },
  },
  EulerDiscreteScheduler: {
    log_linear: { interpolation_type: 'log_linear', timestep_spacing: 'trailing' },
    beta: { use_beta_sigmas: true },
  },
  HeunDiscreteScheduler: { clipping: { clip_sample: true, clip_sample_range: 1.5 } },
  LCMScheduler: { clipping: { clip_sample: true, clip_sample_range: 1.5 } },
  DDIMScheduler: {
    v_prediction: { prediction_type: 'v_prediction' },
    sample: { prediction_type: 'sample' },
    clipping: { clip_sample: true, clip_sample_range: 0.7 },
    thresholding: { thresholding: true, dynamic_thresholding_ratio: 0.9, sample_max_value: 100 },
  },
  PNDMScheduler: {
    'v_prediction, trailing': { prediction_type: 'v_prediction', timestep_spacing: 'trailing' },
    'Runge-Kutta': { skip_prk_steps: false },
  },
  TCDScheduler: { sample: { prediction_type: 'sample' } },
  UniPCMultistepScheduler: {
    'order 3, noise': { solver_order: 3, predict_x0: false, final_sigmas_type: 'sigma_min' },
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

  it('ignores unknown fields, and refuses unsupported values of its own by name', () => {
    expect(() => createScheduler({ ...stableDiffusion, _class_name: name, made_up: { a: 1 } })).not.toThrow();
    for (const [field, value] of Object.entries({ beta_schedule: 'quadratic', prediction_type: 'flow_prediction' }))
      expect(() => new schedulers[name]({ ...stableDiffusion, [field]: value })).toThrow(
        new RegExp(`^${name}: ${field} got "${value}", expected one of`),
      );
  });
});
