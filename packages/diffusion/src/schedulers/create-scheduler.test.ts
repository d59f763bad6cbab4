import { describe, expect, it } from 'vitest';
import { fixtureJson } from '../../../../fixtures/index.js';
import { createScheduler, createStableDiffusionScheduler, schedulerClasses } from './create-scheduler.js';
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

  it('names the classes it knows when the file names another one, or none', () => {
    expect(() => createScheduler({ _class_name: 'HeunDiscreteScheduler' })).toThrow(
      `_class_name got "HeunDiscreteScheduler", expected one of ${schedulerClasses.join(', ')}`,
    );
    expect(() => createScheduler({ _class_name: 'constructor' })).toThrow(/expected one of/);
    expect(() => createScheduler({})).toThrow(/_class_name got undefined/);
  });

  it('names every option that is wrong', () => {
    const config = {
      ...sd2,
      beta_schedule: 'sigmoid',
      timestep_spacing: 'even',
      steps_offset: '1',
      trained_betas: 0.1,
      clip_sample: null,
    };
    const message = (() => {
      try {
        createScheduler(config);
      } catch (error) {
        return (error as Error).message;
      }
      return '';
    })();
    for (const field of ['beta_schedule', 'timestep_spacing', 'steps_offset', 'trained_betas', 'clip_sample'])
      expect(message).toContain(`${field} got`);
    expect(message).toContain('one of linear, scaled_linear, squaredcos_cap_v2');
  });
});

describe('fromConfig', () => {
  it('takes over the fields the file has, also those its own class does not know, and drops the rest', () => {
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

  it('leaves out defaults that the other class filled in', () => {
    const pndm = new PNDMScheduler({ skip_prk_steps: true });
    expect(pndm.config.set_alpha_to_one).toBe(false);
    expect(DDIMScheduler.fromConfig(pndm.config).config.set_alpha_to_one).toBe(true);
  });

  it('goes back to a PNDM scheduler', () => {
    const ddim = new DDIMScheduler({ beta_start: 0.001 });
    expect(PNDMScheduler.fromConfig({ ...ddim.config, skip_prk_steps: true }).config).toMatchObject({
      beta_start: 0.001,
      beta_end: 0.02,
    });
  });
});

describe('createStableDiffusionScheduler', () => {
  it('puts an outdated or silent file right', () => {
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

  it('leaves a current file alone', () => {
    expect(createStableDiffusionScheduler(sd2).config).toEqual(createScheduler(sd2).config);
  });

  it('makes a correction that a DDIM scheduler made from it keeps', () => {
    const pndm = createStableDiffusionScheduler({
      _class_name: 'PNDMScheduler',
      skip_prk_steps: true,
      clip_sample: true,
    });
    expect(DDIMScheduler.fromConfig(pndm.config).config).toMatchObject({ steps_offset: 1, clip_sample: false });
  });
});
