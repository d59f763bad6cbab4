import { mul, randomNormal, scalar, tensor1d, type Tensor, type Tensor3D, type Tensor4D } from '@tensorflow/tfjs-core';
import { readFileSync } from 'node:fs';
import { TfjsEngine, useBackend } from '@alignprop/autograd-ext';
import { directory, type FileSource } from '@alignprop/autograd-ext/weights';
import { beforeAll, describe, expect, it } from 'vitest';
import { expectClose, fixtureJson, fixturePath } from '../../../../fixtures/index.js';
import { decodePng } from '../image/png.js';
import { toUint8 } from '../image/to-uint8.js';
import { DDIMScheduler } from '../schedulers/ddim.js';
import type { SchedulerConfig } from '../schedulers/scheduler.js';
import { guidedPrediction } from './guidance.js';
import { StableDiffusionPipeline } from './stable-diffusion.js';

const configPath = 'scheduler/scheduler_config.json';

/** The files of sd15-tiny, with another scheduler_config.json, or without one, and its class in model_index.json. */
function withConfig(config: SchedulerConfig | undefined, name = config?._class_name): FileSource {
  const files = directory(fixturePath('sd15-tiny/model'));
  const index = fixtureJson<object>('sd15-tiny/model/model_index.json');
  const replaced = new Map<string, unknown>([
    [configPath, config],
    ['model_index.json', { ...index, scheduler: ['diffusers', name] }],
  ]);
  return {
    ...files,
    open: async (path) => {
      if (!replaced.has(path)) return files.open(path);
      if (!replaced.get(path)) throw new Error('no scheduler');
      const bytes = new TextEncoder().encode(JSON.stringify(replaced.get(path)));
      return { name: path, size: bytes.length, read: async () => bytes, close: async () => undefined };
    },
  };
}

beforeAll(() => useBackend('wasm'));

/** The largest difference to a picture of diffusers, in steps of 1/255. */
async function differenceTo(name: string, pipeline: StableDiffusionPipeline): Promise<number> {
  const options = { numInferenceSteps: 3, guidanceScale: 5, seed: 7 };
  const { images } = await pipeline.generate('a photo of a cat', options);
  const [pixels] = await toUint8(images);
  const { data } = decodePng(new Uint8Array(readFileSync(fixturePath(`scheduler-files/${name}.png`))));
  return pixels!.reduce((worst, value, i) => Math.max(worst, Math.abs(value - data[i]!)), 0);
}

describe('a pipeline with the scheduler of an outdated or foreign file', () => {
  const config = (name: string) => fixtureJson<SchedulerConfig>(`scheduler-files/${name}.json`);
  const engine = new TfjsEngine();

  it.each(['scheduler-deis', 'pndm-no-steps-offset'])(
    'draws the picture of diffusers with DDIMScheduler.fromConfig(pipeline.scheduler.config): %s',
    async (name) => {
      const pipeline = await StableDiffusionPipeline.fromPretrained(withConfig(config(name)), { engine });
      const scheduler = DDIMScheduler.fromConfig(pipeline.scheduler.config);
      expect(await differenceTo(name, pipeline.with({ scheduler }))).toBeLessThanOrEqual(1);
    },
  );

  it('corrects a scheduler that fromPretrained is given, without reading that of the folder', async () => {
    const name = 'scheduler-passed-in';
    const scheduler = DDIMScheduler.fromConfig(config(name));
    const pipeline = await StableDiffusionPipeline.fromPretrained(withConfig(undefined), { engine, scheduler });
    expect(await differenceTo(name, pipeline)).toBeLessThanOrEqual(1);
    const { tokenizer, textEncoder, unet, vae } = pipeline;
    const parts = { tokenizer, textEncoder, unet, vae, engine, scheduler };
    expect(new StableDiffusionPipeline(parts).scheduler.config).toEqual(pipeline.scheduler.config);
    expect(pipeline.with({ scheduler }).scheduler).toBe(scheduler);
  });

  it.each([
    ['PNDMScheduler', 'EDMEulerScheduler', 'PNDMScheduler'],
    ['EulerDiscreteScheduler', 'PNDMScheduler', 'EulerDiscreteScheduler'],
    ['EDMEulerScheduler', 'PNDMScheduler', 'EDMEulerScheduler'],
    [null, 'DDIMScheduler', 'DDIMScheduler'],
  ])(
    'has the class of model_index.json, %s, before that of scheduler_config.json, %s',
    async (index, file, expected) => {
      const files = withConfig({ ...config('scheduler-deis'), _class_name: file }, index);
      const { scheduler } = await StableDiffusionPipeline.fromPretrained(files, { engine });
      expect(scheduler.config).toMatchObject({ _class_name: expected, beta_start: 0.00085 });
    },
  );

  it('loads with a class that is not supported, and names it when a picture is drawn', async () => {
    const file = { ...config('scheduler-deis'), _class_name: 'EDMEulerScheduler' };
    const pipeline = await StableDiffusionPipeline.fromPretrained(withConfig(file), { engine });
    await expect(pipeline.generate('a cat')).rejects.toThrow(/"EDMEulerScheduler", expected one of .*--scheduler ddim/);
    const scheduler = DDIMScheduler.fromConfig(pipeline.scheduler.config);
    expect(await differenceTo('scheduler-deis', pipeline.with({ scheduler }))).toBeLessThanOrEqual(1);
  });
});

describe('guidedPrediction', () => {
  it('scales the input of the UNet, and its gradient', async () => {
    const engine = new TfjsEngine();
    const { unet } = await StableDiffusionPipeline.fromPretrained(fixturePath('sd15-tiny/model'), { engine });
    const vjp = engine.compileVjp(guidedPrediction(unet.config), { wrt: [0] });
    const latents = randomNormal([1, 2, 2, 4], 0, 5, 'float32', 1) as Tensor4D;
    const embeds = randomNormal([2, 77, unet.config.cross_attention_dim as number], 0, 1, 'float32', 2) as Tensor3D;
    const others: Tensor[] = [tensor1d([500]), embeds, scalar(3)];
    const scaled = await vjp(unet.params, [latents, ...others, scalar(0.2)]);
    const plain = await vjp(unet.params, [mul(latents, 0.2), ...others]);
    expectClose(scaled.value, plain.value, 1e-5, 'prediction');
    expectClose(scaled.inputs[0]!, mul(plain.inputs[0]!, 0.2), 1e-5, 'gradient');
    engine.dispose();
  });
});
