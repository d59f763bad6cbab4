import { describe, expect, it } from 'vitest';
import { fixtureJson } from '../../../../fixtures/index.js';
import { createScheduler, createStableDiffusionScheduler, schedulers } from './create-scheduler.js';
import { DDIMScheduler } from './ddim.js';
import { PNDMScheduler } from './pndm.js';

const sd15 = fixtureJson<Record<string, unknown>>('sd15-tiny/model/scheduler/scheduler_config.json');
const sd2 = fixtureJson<Record<string, unknown>>('sd2-tiny/model/scheduler/scheduler_config.json');

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
    expect(() => createScheduler({ _class_name: 'HeunDiscreteScheduler' })).toThrow(
      `_class_name got "HeunDiscreteScheduler", expected one of ${Object.keys(schedulers).join(', ')}`,
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
      clip_sample: null,
    };
    const create = () => createScheduler(config);
    for (const field of ['beta_schedule', 'timestep_spacing', 'steps_offset', 'trained_betas', 'clip_sample'])
      expect(create).toThrow(`${field} got`);
    expect(create).toThrow('one of linear, scaled_linear, squaredcos_cap_v2');
  });
});

describe('Scheduler.fromConfig', () => {
  it('takes the explicit fields that DDIM has, also those unknown to the class of the file, and drops the rest', () => {
    const { config } = DDIMScheduler.fromConfig(createScheduler(sd15).config);
    expect(config).toMatchObject({
      clip_sample: false,
      set_alpha_to_one: false,
      steps_offset: 1,
      beta_schedule: 'scaled_linear',
      _class_name: 'DDIMScheduler',
    });
    expect(config).not.toHaveProperty('skip_prk_steps');
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
});

describe('createStableDiffusionScheduler', () => {
  it('corrects files without steps_offset and clip_sample, or with outdated values', () => {
    const old = Object.fromEntries(
      Object.entries(sd15).filter(([name]) => name !== 'steps_offset' && name !== 'clip_sample'),
    );
    expect(createStableDiffusionScheduler(old).config).toMatchObject({ steps_offset: 1 });
    expect(createStableDiffusionScheduler({ ...sd2, steps_offset: 0, clip_sample: true }).config).toMatchObject({
      steps_offset: 1,
      clip_sample: false,
    });
    expect(createStableDiffusionScheduler({ _class_name: 'DDIMScheduler' }).config).toMatchObject({
      steps_offset: 1,
      clip_sample: false,
    });
  });

  it('does not change the config of a current file', () => {
    expect(createStableDiffusionScheduler(sd2).config).toEqual(createScheduler(sd2).config);
  });

  it('corrects options that a DDIM scheduler created from the result inherits', () => {
    const pndm = createStableDiffusionScheduler({
      _class_name: 'PNDMScheduler',
      skip_prk_steps: true,
      clip_sample: true,
    });
    expect(DDIMScheduler.fromConfig(pndm.config).config).toMatchObject({ steps_offset: 1, clip_sample: false });
  });
});
