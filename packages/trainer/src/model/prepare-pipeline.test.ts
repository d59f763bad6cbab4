import { dispose } from '@tensorflow/tfjs-core';
import { random, TfjsEngine, useBackend } from '@alignprop/autograd-ext';
import {
  createScheduler,
  DDIMScheduler,
  EulerAncestralDiscreteScheduler,
  EulerDiscreteScheduler,
  LCMScheduler,
  StableDiffusionPipeline,
  UNet2DConditionModel,
  type Scheduler,
} from '@alignprop/diffusion';
import { beforeAll, describe, expect, it } from 'vitest';
import { fixtureJson, fixturePath } from '../../../../fixtures/index.js';
import { parseAlignPropConfig, type AlignPropConfigInput } from '../config/config.js';
import { preparePipeline } from './prepare-pipeline.js';

const file = fixtureJson<Record<string, unknown>>('sd15-tiny/model/scheduler/scheduler_config.json');

describe('preparePipeline', () => {
  let pipeline: StableDiffusionPipeline;
  beforeAll(async () => {
    await useBackend('cpu');
    const options = { engine: new TfjsEngine() };
    pipeline = await StableDiffusionPipeline.fromPretrained(fixturePath('sd15-tiny/model'), options);
  });

  const prepared = (scheduler: Scheduler, config: AlignPropConfigInput = {}): Scheduler => {
    const { pipeline: ready, created } = preparePipeline(
      pipeline.with({ scheduler }),
      parseAlignPropConfig(config),
      random(0),
    );
    dispose(created);
    return ready.scheduler;
  };

  it('replaces any scheduler by DDIM with its noise schedule, of which it needs the config alone', () => {
    const expected = DDIMScheduler.fromConfig(file).config;
    const foreign = { config: { ...file, _class_name: 'EDMEulerScheduler' } } as unknown as Scheduler;
    for (const scheduler of [createScheduler(file), createScheduler({ ...file, _class_name: 'LCMScheduler' }), foreign])
      expect(prepared(scheduler).config).toEqual(expected);
  });

  it('takes only the options that a DDIM file has, as TRL does', () => {
    const corrected = new StableDiffusionPipeline({ ...partsOf(pipeline), scheduler: new DDIMScheduler() });
    expect(corrected.scheduler.config).toMatchObject({ steps_offset: 1, clip_sample: false });
    expect(prepared(corrected.scheduler).config).toMatchObject({ steps_offset: 0, clip_sample: true });
  });

  it('takes the scheduler of the configuration, with the noise schedule of the model', () => {
    for (const [name, Class] of [
      ['lcm', LCMScheduler],
      ['euler', EulerDiscreteScheduler],
    ] as const)
      expect(prepared(createScheduler(file), { scheduler: name }).config).toEqual(Class.fromConfig(file).config);
    const own = new EulerAncestralDiscreteScheduler({ timestep_spacing: 'trailing' });
    expect(prepared(own, { scheduler: 'config' })).toBe(own);
  });

  it('refuses schedulers whose steps read earlier ones, and chains that do not exist', () => {
    const multistep = createScheduler({ ...file, _class_name: 'DPMSolverMultistepScheduler' });
    expect(() => prepared(multistep, { scheduler: 'config' })).toThrow(
      /scheduler got 'config', the model's DPMSolverMultistepScheduler, .* Set scheduler to 'ddim'/,
    );
    expect(() => parseAlignPropConfig({ scheduler: 'unipc' })).toThrow(
      /scheduler: Invalid option: expected one of "ddim"/,
    );
    const long = { scheduler: 'lcm', sample_num_steps: 60, estimator: 'full' } as const;
    expect(() => prepared(createScheduler(file), long)).toThrow(/got 60, expected an integer from 1 to original_/);
  });
});

describe('preparePipeline refuses', () => {
  const open = async (location: string) =>
    StableDiffusionPipeline.fromPretrained(location, { engine: new TfjsEngine() });

  it('latent consistency models with steps that cannot sample them', async () => {
    await useBackend('cpu');
    const base = await open(fixturePath('sd15-tiny/model'));
    const unet = await UNet2DConditionModel.fromPretrained(fixturePath('lcm/overlay/unet'));
    expect(() => preparePipeline(base.with({ unet }), parseAlignPropConfig({}), random(0))).toThrow(
      /scheduler got 'ddim' \(DDIMScheduler\) for a latent consistency model .* expected 'lcm' or 'tcd'/,
    );
  });
});

const partsOf = ({ tokenizer, textEncoder, unet, vae, engine }: StableDiffusionPipeline) => ({
  tokenizer,
  textEncoder,
  unet,
  vae,
  engine,
});
