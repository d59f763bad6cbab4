import { tensor4d } from '@tensorflow/tfjs-core';
import { useBackend } from '@alignprop/autograd-ext';
import { beforeAll, describe, expect, it } from 'vitest';
import { fixtureJson } from '../../../../fixtures/index.js';
import {
  correctedScheduler,
  createScheduler,
  folderScheduler,
  schedulerFor,
  schedulerNames,
  schedulers,
} from './create-scheduler.js';
import { DDIMScheduler } from './ddim.js';
import { PNDMScheduler } from './pndm.js';
import type { SchedulerConfig } from './scheduler.js';

const sd15 = fixtureJson<Record<string, unknown>>('sd15-tiny/model/scheduler/scheduler_config.json');
const sd2 = fixtureJson<Record<string, unknown>>('sd2-tiny/model/scheduler/scheduler_config.json');

beforeAll(() => useBackend('cpu'));

describe('createScheduler', () => {
  it('reads the class and the options from the file', () => {
    expect(createScheduler(sd15)).toBeInstanceOf(PNDMScheduler);
    const scheduler = createScheduler(sd2);
    expect(scheduler).toBeInstanceOf(DDIMScheduler);
    expect(scheduler.config).toMatchObject({
      _class_name: 'DDIMScheduler',
      prediction_type: 'v_prediction',
      beta_start: 0.00085,
    });
  });

  it('names the supported classes if the file names another class, or none', () => {
    expect(() => createScheduler({ _class_name: 'EDMEulerScheduler' })).toThrow(
      `_class_name got "EDMEulerScheduler", expected one of ${Object.keys(schedulers).join(', ')}`,
    );
    expect(() => createScheduler({ _class_name: 'constructor' })).toThrow(/expected one of/);
    expect(() => createScheduler({})).toThrow(/_class_name got undefined/);
  });

  it('names every option with an unsupported value in one error', () => {
    const config = {
      ...sd2,
      beta_schedule: 'sigmoid',
      timestep_spacing: 'even',
      steps_offset: '1',
      trained_betas: 0.1,
      clip_sample: 'no',
    };
    const create = () => createScheduler(config);
    for (const field of ['beta_schedule', 'timestep_spacing', 'steps_offset', 'trained_betas', 'clip_sample'])
      expect(create).toThrow(`${field} got`);
    expect(create).toThrow('one of linear, scaled_linear, squaredcos_cap_v2');
  });
});

describe('Scheduler.fromConfig', () => {
  it('takes the explicit fields that DDIM has, also those unknown to the class of the file, and keeps the rest', () => {
    const { config } = DDIMScheduler.fromConfig(createScheduler(sd15).config);
    expect(config).toMatchObject({
      clip_sample: false,
      set_alpha_to_one: false,
      steps_offset: 1,
      beta_schedule: 'scaled_linear',
      _class_name: 'DDIMScheduler',
    });
    expect(PNDMScheduler.fromConfig(config).config.skip_prk_steps).toBe(true);
  });

  it('does not take defaults that the other class filled in', () => {
    const pndm = new PNDMScheduler({ skip_prk_steps: true });
    expect(pndm.config.set_alpha_to_one).toBe(false);
    expect(DDIMScheduler.fromConfig(pndm.config).config.set_alpha_to_one).toBe(true);
  });

  it('creates a PNDM scheduler from the config of a DDIM scheduler', () => {
    const ddim = new DDIMScheduler({ beta_start: 0.001 });
    expect(PNDMScheduler.fromConfig({ ...ddim.config, skip_prk_steps: true }).config).toMatchObject({
      beta_start: 0.001,
      beta_end: 0.02,
    });
  });

  it.each([
    ['DPMSolverMultistepScheduler', { algorithm_type: 'deis', solver_type: 'bh2' }, ['dpmsolver++', 'midpoint']],
    ['DPMSolverSinglestepScheduler', { algorithm_type: 'deis', solver_type: 'logrho' }, ['dpmsolver++', 'midpoint']],
    ['DEISMultistepScheduler', { algorithm_type: 'dpmsolver++', solver_type: 'heun' }, ['deis', 'logrho']],
    ['UniPCMultistepScheduler', { algorithm_type: 'dpmsolver', solver_type: 'midpoint' }, ['dpmsolver', 'bh2']],
  ])('of %s replaces the solvers of other classes as diffusers does', (_class_name, options, expected) => {
    const { config } = createScheduler({ _class_name, ...options });
    expect([config.algorithm_type, config.solver_type]).toEqual(expected);
  });

  it('reads null and numbers as Booleans where Python does, and refuses null elsewhere unless it means none', () => {
    const file = { use_karras_sigmas: null, use_beta_sigmas: 0, use_exponential_sigmas: 1, sigma_min: null };
    const { config } = createScheduler({ _class_name: 'EulerDiscreteScheduler', ...file, trained_betas: null });
    expect(config).toMatchObject({ use_karras_sigmas: false, use_beta_sigmas: false, use_exponential_sigmas: true });
    expect(() => createScheduler({ ...sd2, beta_end: null })).toThrow('beta_end got null, expected 0 to 1');
  });
});

/** Options that a class refuses, and the field that its message names. */
const refused: readonly [string, SchedulerConfig, string][] = [
  ['DDPMScheduler', { variance_type: 'learned_range' }, 'variance_type got "learned_range"'],
  ['DDPMScheduler', { variance_type: 'fixed_large_log' }, 'variance_type got "fixed_large_log"'],
  ['DPMSolverMultistepScheduler', { variance_type: 'learned' }, 'variance_type got "learned", expected null'],
  ['DPMSolverMultistepScheduler', { use_flow_sigmas: true }, 'use_flow_sigmas got true, expected false'],
  ['DPMSolverMultistepScheduler', { algorithm_type: 'dpmsolver' }, 'final_sigmas_type got zero'],
  ['DPMSolverMultistepScheduler', { solver_order: 4 }, 'solver_order got 4, expected one of 1, 2, 3'],
  [
    'DPMSolverMultistepScheduler',
    { algorithm_type: 'sde-dpmsolver', solver_order: 3, final_sigmas_type: 'sigma_min' },
    'solver_order got 3 with sde-dpmsolver',
  ],
  ['DPMSolverSinglestepScheduler', { algorithm_type: 'sde-dpmsolver' }, 'algorithm_type got "sde-dpmsolver"'],
  ['DEISMultistepScheduler', { algorithm_type: 'sde-dpmsolver++' }, 'algorithm_type got "sde-dpmsolver++"'],
  ['EulerAncestralDiscreteScheduler', { prediction_type: 'sample' }, 'prediction_type got "sample"'],
  [
    'EulerDiscreteScheduler',
    { timestep_type: 'continuous', prediction_type: 'v_prediction' },
    'timestep_type got continuous with v_prediction',
  ],
  [
    'EulerDiscreteScheduler',
    { use_karras_sigmas: true, use_beta_sigmas: true },
    'use_karras_sigmas and use_beta_sigmas got true',
  ],
  ['KDPM2DiscreteScheduler', { prediction_type: 'sample' }, 'prediction_type got "sample"'],
  ['PNDMScheduler', { prediction_type: 'sample' }, 'prediction_type got "sample"'],
  ['UniPCMultistepScheduler', { solver_p: { _class_name: 'DDIMScheduler' } }, 'solver_p got {'],
  ['UniPCMultistepScheduler', { solver_type: 'bh1' }, 'final_sigmas_type got zero with solver_type bh1'],
  ['UniPCMultistepScheduler', { use_dynamic_shifting: true }, 'use_dynamic_shifting got true'],
];

describe('options that a class does not support', () => {
  it.each(refused)('are refused by name: %s %j', (_class_name, options, message) => {
    expect(() => createScheduler({ _class_name, ...options })).toThrow(`${_class_name}: ${message}`);
  });

  it('make the chain itself an error where only its length is not supported', () => {
    const lcm = createScheduler({ _class_name: 'LCMScheduler' });
    expect(() => lcm.timesteps(51)).toThrow('expected an integer from 1 to original_inference_steps = 50');
  });
});

describe('schedulerFor', () => {
  it.each(schedulerNames)('creates %s from the config of a folder', (name) => {
    expect(schedulerFor(name, sd15).timesteps(4).length).toBeGreaterThanOrEqual(4);
  });

  it('takes names with options, and names of classes', () => {
    expect(schedulerFor('dpm++-2m-sde-karras', sd15).config).toMatchObject({
      _class_name: 'DPMSolverMultistepScheduler',
      algorithm_type: 'sde-dpmsolver++',
      use_karras_sigmas: true,
      steps_offset: 1,
    });
    expect(schedulerFor('HeunDiscreteScheduler', sd15).config._class_name).toBe('HeunDiscreteScheduler');
  });

  it.each(Object.entries(schedulers))('rescales to zero SNR where diffusers has the option: %s', (name, Class) => {
    const rescaled = [
      'DDIM',
      'DDPM',
      'EulerDiscrete',
      'EulerAncestralDiscrete',
      'DPMSolverMultistep',
      'UniPCMultistep',
    ];
    const has = [...rescaled, 'LCM', 'TCD'].includes(name.replace('Scheduler', ''));
    const velocity = (options: object) => {
      const one = tensor4d([1], [1, 1, 1, 1]);
      return Class.fromConfig({ ...sd15, ...options })
        .getVelocity(one, one, [900])
        .dataSync()[0];
    };
    expect(velocity({ rescale_betas_zero_snr: true }) !== velocity({})).toBe(has);
  });

  it.each(['dpm++-2m', 'dpm++-2s'])('takes the fixed variance of a DDPM file for %s, and no learned one', (name) => {
    expect(schedulerFor(name, { ...sd15, variance_type: 'fixed_small' }).timesteps(3)).toHaveLength(3);
    expect(() => schedulerFor(name, { ...sd15, variance_type: 'learned_range' })).toThrow(
      /variance_type got "learned_range", expected null or a fixed one/,
    );
  });

  it('lists the names if there is no such scheduler', () => {
    expect(() => schedulerFor('toString', sd15)).toThrow(
      /name got "toString", expected one of ddim, .* or a class: DDIM/,
    );
  });
});

const unknown = { ...sd15, _class_name: 'EDMEulerScheduler', steps_offset: 0, clip_sample: true };

describe('folderScheduler', () => {
  it.each<[string, SchedulerConfig, RegExp]>([
    ['of an unknown class', unknown, /_class_name got "EDMEulerScheduler", expected one of DDIM/],
    ['without a class', { ...sd15, _class_name: undefined }, /_class_name got undefined/],
    ['with an unsupported option', { ...sd2, beta_schedule: 'sigmoid' }, /beta_schedule got "sigmoid"/],
  ])('holds the config of a file %s, and says on use how to choose another scheduler', (_, config, message) => {
    const scheduler = folderScheduler(config);
    expect(scheduler.config).toMatchObject({ beta_start: sd15.beta_start, _class_name: config._class_name });
    expect(() => scheduler.timesteps(3)).toThrow(message);
    expect(() => scheduler.timesteps(3)).toThrow(/option `scheduler` of fromPretrained, or '--scheduler ddim'/);
  });

  it('passes the schedule of an unknown class to a known one', () => {
    const corrected = correctedScheduler(folderScheduler(unknown));
    expect(DDIMScheduler.fromConfig(corrected.config).config).toMatchObject({
      beta_schedule: 'scaled_linear',
      steps_offset: 1,
      clip_sample: false,
    });
  });
});

describe('correctedScheduler', () => {
  it('corrects schedulers without steps_offset and clip_sample, or with outdated values', () => {
    const old = Object.fromEntries(
      Object.entries(sd15).filter(([name]) => name !== 'steps_offset' && name !== 'clip_sample'),
    );
    expect(correctedScheduler(createScheduler(old)).config).toMatchObject({ steps_offset: 1 });
    const outdated = createScheduler({ ...sd2, steps_offset: 0, clip_sample: true });
    expect(correctedScheduler(outdated).config).toMatchObject({ steps_offset: 1, clip_sample: false });
    expect(correctedScheduler(new DDIMScheduler()).config).toMatchObject({ steps_offset: 1, clip_sample: false });
  });

  it('does not change a current scheduler', () => {
    const scheduler = createScheduler(sd2);
    expect(correctedScheduler(scheduler)).toBe(scheduler);
  });

  it('changes what another class takes over only where the file has the option, as in diffusers', () => {
    const explicit = createScheduler({ _class_name: 'PNDMScheduler', skip_prk_steps: true, clip_sample: true });
    const { config } = DDIMScheduler.fromConfig(correctedScheduler(explicit).config);
    expect(config).toMatchObject({ steps_offset: 0, clip_sample: false });
  });
});
