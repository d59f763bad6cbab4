import { dispose } from '@tensorflow/tfjs-core';
import { random, TfjsEngine, useBackend } from '@alignprop/autograd-ext';
import { createScheduler, DDIMScheduler, StableDiffusionPipeline, type Scheduler } from '@alignprop/diffusion';
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

const partsOf = ({ tokenizer, textEncoder, unet, vae, engine }: StableDiffusionPipeline) => ({
  tokenizer,
  textEncoder,
  unet,
  vae,
  engine,
});
