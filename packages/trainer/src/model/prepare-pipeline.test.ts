import { dispose } from '@tensorflow/tfjs-core';
import { random, TfjsEngine, useBackend } from '@alignprop/autograd-ext';
import {
  createScheduler,
  DDIMScheduler,
  StableDiffusionPipeline,
  UNet2DConditionModel,
  type Scheduler,
} from '@alignprop/diffusion';
import { beforeAll, describe, expect, it } from 'vitest';
import { fixtureJson, fixturePath } from '../../../../fixtures/index.js';
import { parseAlignPropConfig } from '../config/config.js';
import { preparePipeline } from './prepare-pipeline.js';

const file = fixtureJson<Record<string, unknown>>('sd15-tiny/model/scheduler/scheduler_config.json');

describe('preparePipeline', () => {
  let pipeline: StableDiffusionPipeline;
  beforeAll(async () => {
    await useBackend('cpu');
    const options = { engine: new TfjsEngine() };
    pipeline = await StableDiffusionPipeline.fromPretrained(fixturePath('sd15-tiny/model'), options);
  });

  const prepared = (scheduler: Scheduler): Scheduler => {
    const { pipeline: ready, created } = preparePipeline(
      pipeline.with({ scheduler }),
      parseAlignPropConfig({}),
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
});

describe('preparePipeline refuses', () => {
  const open = async (location: string) =>
    StableDiffusionPipeline.fromPretrained(location, { engine: new TfjsEngine() });

  it('latent consistency models, whose steps are not those of DDIM', async () => {
    await useBackend('cpu');
    const base = await open(fixturePath('sd15-tiny/model'));
    const unet = await UNet2DConditionModel.fromPretrained(fixturePath('lcm/overlay/unet'));
    expect(() => preparePipeline(base.with({ unet }), parseAlignPropConfig({}), random(0))).toThrow(
      /UNet with time_cond_proj_dim, a latent consistency model, expected one that DDIM can sample/,
    );
  });

  it('to train the text encoders of SDXL', async () => {
    const pipeline = await open(fixturePath('sdxl-tiny/model'));
    const config = parseAlignPropConfig({ train_text_encoder: true });
    expect(() => preparePipeline(pipeline, config, random(0))).toThrow(
      /train_text_encoder got true for SDXL, expected false/,
    );
    const { created } = preparePipeline(pipeline, parseAlignPropConfig({}), random(0));
    expect(Object.keys(created).length).toBeGreaterThan(0);
    dispose(created);
  });
});

const partsOf = ({ tokenizer, textEncoder, unet, vae, engine }: StableDiffusionPipeline) => ({
  tokenizer,
  textEncoder,
  unet,
  vae,
  engine,
});
