import { gather, memory, reshape, slice, tidy, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { random, TfjsEngine, useBackend, type Engine } from '@alignprop/autograd-ext';
import { directory, memory as memorySource } from '@alignprop/autograd-ext/weights';
import { engineNames, startEngine } from '../../../../fixtures/engines.js';
import { expectClose, fixtureJson, fixturePath, fixtureTensors, toNCHW, toNHWC } from '../../../../fixtures/index.js';
import { toUint8 } from '../image/to-uint8.js';
import { AutoencoderTiny } from '../models/autoencoder-tiny.js';
import { createScheduler } from '../schedulers/create-scheduler.js';
import { DDIMScheduler } from '../schedulers/ddim.js';
import { StableDiffusionPipeline } from './stable-diffusion.js';

interface InferenceCase {
  label: string;
  prompts: string[];
  negative_prompt: string | null;
  steps: number;
  guidance_scale: number;
  eta: number;
  guidance_rescale: number;
  scheduler: 'DDIMScheduler' | 'PNDMScheduler';
}
const models = ['sd15-tiny', 'sd2-tiny'] as const;
const modelPath = (model: string) => fixturePath(`${model}/model`);
const cases = models.flatMap((model) =>
  fixtureJson<{ inference: InferenceCase[] }>(`${model}/case.json`).inference.map((options) => ({ model, ...options })),
);

/** Loads a model with the scheduler of a case, created from the config of the model's folder. */
async function pipelineFor(
  engine: Engine,
  model: string,
  scheduler: InferenceCase['scheduler'],
): Promise<StableDiffusionPipeline> {
  const config = fixtureJson(`${model}/model/scheduler/scheduler_config.json`);
  return StableDiffusionPipeline.fromPretrained(modelPath(model), {
    engine,
    scheduler: scheduler === 'DDIMScheduler' ? DDIMScheduler.fromConfig(config) : createScheduler(config),
  });
}

const row = (x: Tensor, i: number) => reshape(gather(x, [i]), x.shape.slice(1));

describe.each(engineNames)('StableDiffusionPipeline.denoise on %s', (name) => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await startEngine(name);
  });

  it.each(cases)(
    'computes the latents and images of diffusers: $model $label',
    async ({ model, label, ...options }) => {
      const golden = await fixtureTensors(`${model}/inference.safetensors`);
      const expected = (name: string) => golden[`${label}.${name}`]!;
      const pipeline = await pipelineFor(engine, model, options.scheduler);
      const timesteps = pipeline.scheduler.timesteps(options.steps).map(({ t }) => t);
      expect(timesteps).toEqual([...expected('timesteps').dataSync()]);

      const negatives = options.prompts.map(() => options.negative_prompt ?? '');
      const chain = pipeline.denoise(toNHWC(expected('latents0')), {
        promptEmbeds: (await pipeline.encodePrompt(options.prompts)).promptEmbeds,
        negativePromptEmbeds: (await pipeline.encodePrompt(negatives)).promptEmbeds,
        numInferenceSteps: options.steps,
        guidanceScale: options.guidance_scale,
        guidanceRescale: options.guidance_rescale,
        eta: options.eta,
        noise: ({ index }) => toNHWC(row(expected('noise'), index)),
      });
      let latents: Tensor4D | undefined;
      for await (const { step, latents: next } of chain) {
        latents = next;
        expectClose(next, toNHWC(row(expected('latents'), step.index + 1)), 1e-3, `latents after step ${step.index}`);
      }
      const images = await pipeline.decode(latents!);
      expectClose(images, toNHWC(expected('image')), 1e-3, 'image');
      const bytes = await toUint8(images);
      const uint8 = expected('image_uint8_nhwc').dataSync();
      const differing = bytes.flatMap((image) => [...image]).filter((byte, i) => Math.abs(byte - uint8[i]!) > 1).length;
      expect(differing).toBe(0);
      pipeline.dispose();
    },
  );

  it('draws with a tiny autoencoder as diffusers does', async () => {
    const golden = await fixtureTensors('autoencoder-tiny/io.safetensors');
    const given = await pipelineFor(engine, 'sd15-tiny', 'DDIMScheduler');
    const vae = await AutoencoderTiny.fromPretrained(fixturePath('autoencoder-tiny/model'));
    const pipeline = given.with({ vae });
    const { images, latents } = await pipeline.generate('a photo of a cat', {
      outputType: 'tensor',
      latents: toNHWC(golden['pipeline.latents0']!),
      numInferenceSteps: 3,
      guidanceScale: 5,
      height: 64,
      width: 64,
    });
    expectClose(toNCHW(latents), golden['pipeline.latents_last']!, 1e-3, 'latents');
    expectClose(toNCHW(images), golden['pipeline.image']!, 1e-3, 'image');
    pipeline.dispose();
  });
});

describe('StableDiffusionPipeline.generate', () => {
  let pipeline: StableDiffusionPipeline;
  beforeAll(async () => {
    await useBackend('wasm');
    pipeline = await StableDiffusionPipeline.fromPretrained(modelPath('sd15-tiny'), { engine: new TfjsEngine() });
  });
  const settings = { numInferenceSteps: 3, seed: 7, height: 16, width: 24, outputType: 'tensor' as const };
  const numbers = ({ images }: { images: Tensor }) => [...images.dataSync()];

  it('returns images of the requested size with values in [0, 1]', async () => {
    const { images, latents, seed } = await pipeline.generate(['a cat', 'a dog'], {
      ...settings,
      numImagesPerPrompt: 2,
    });
    expect(images.shape).toEqual([4, 16, 24, 3]);
    expect(latents.shape).toEqual([4, 2, 3, 4]);
    expect(seed).toBe(7);
    expect(Math.min(...images.dataSync())).toBeGreaterThanOrEqual(0);
    expect(Math.max(...images.dataSync())).toBeLessThanOrEqual(1);
  });

  it('draws the same images for the same seed and others for another seed, with noise at every step', async () => {
    const options = { ...settings, eta: 1, guidanceScale: 3 };
    const scheduler = DDIMScheduler.fromConfig(pipeline.scheduler.config);
    const ddim = pipeline.with({ scheduler });
    const first = numbers(await ddim.generate('a cat', options));
    expect(numbers(await ddim.generate('a cat', options))).toEqual(first);
    expect(numbers(await ddim.generate('a cat', { ...options, generator: random(7) }))).toEqual(first);
    expect(numbers(await ddim.generate('a cat', { ...options, seed: 8 }))).not.toEqual(first);
  });

  it('draws each image of a batch as it draws the image alone', async () => {
    const latents = pipeline.prepareLatents({
      batch: 2,
      numInferenceSteps: 3,
      height: 16,
      width: 16,
      generator: random(0),
    });
    const options = { ...settings, width: 16, seed: undefined };
    const batch = await pipeline.generate(['a cat', 'a dog'], { ...options, latents });
    for (const [i, prompt] of ['a cat', 'a dog'].entries()) {
      const alone = await pipeline.generate(prompt, { ...options, latents: tidy(() => slice(latents, i, 1)) });
      expectClose(alone.images, slice(batch.images, i, 1), 1e-4, prompt);
    }
  });

  it('applies each negative prompt to its own prompt', async () => {
    const paired = await pipeline.generate(['a cat', 'a cat'], {
      ...settings,
      negativePrompt: ['', 'blurry'],
      seed: 1,
    });
    const [first, second] = [0, 1].map((i) => [...slice(paired.images, i, 1).dataSync()]);
    expect(second).not.toEqual(first);
  });

  it('reports every step, stops at an aborted signal, and leaks no tensor', async () => {
    await pipeline
      .generate('a cat', settings)
      .then(({ images, latents }) => [images, latents].forEach((t) => t.dispose()));
    const before = memory().numTensors;
    const steps: number[] = [];
    const done = await pipeline.generate('a cat', { ...settings, onStep: ({ t }) => steps.push(t) });
    expect(steps).toEqual(pipeline.scheduler.timesteps(3).map(({ t }) => t));
    [done.images, done.latents].forEach((tensor) => tensor.dispose());
    expect(memory().numTensors).toBe(before);

    const controller = new AbortController();
    const aborted = pipeline.generate('a cat', {
      ...settings,
      onStep: () => controller.abort(),
      signal: controller.signal,
    });
    await expect(aborted).rejects.toThrow(/abort/i);
    expect(memory().numTensors).toBe(before);
  });

  it.each([
    [{ height: 20 }, /height got 20, expected a positive multiple of 8/],
    [{ width: 0 }, /width got 0/],
    [{ numImagesPerPrompt: 0 }, /numImagesPerPrompt got 0/],
    [{ negativePrompt: ['a', 'b'] }, /negativePrompt got 2 texts for 1 prompt/],
    [{ numInferenceSteps: 0 }, /0/],
    [{ numInferenceSteps: 1001 }, /1001/],
  ])('refuses %o and leaks no tensor', async (options, message) => {
    const before = memory().numTensors;
    await expect(pipeline.generate('a cat', { ...settings, ...options })).rejects.toThrow(message);
    expect(memory().numTensors).toBe(before);
  });

  it('returns the text that the text encoder truncates', async () => {
    const long = Array.from({ length: 80 }, () => 'cat').join(' ');
    const { truncated } = await pipeline.generate(['a cat', long], { ...settings, numInferenceSteps: 1 });
    expect(truncated).toEqual(['', 'cat cat cat cat cat']);
  });

  it('refuses an empty list of prompts', async () => {
    await expect(pipeline.generate([], settings)).rejects.toThrow(/empty list/);
  });
});

describe('StableDiffusionPipeline.fromPretrained', () => {
  it('names the missing folder', async () => {
    await expect(StableDiffusionPipeline.fromPretrained('./no-such-folder')).rejects.toThrow(/no-such-folder/);
  });

  it('refuses a pipeline of another architecture and names the unsupported parts', async () => {
    const source = memorySource(
      { 'model_index.json': JSON.stringify({ unet: ['diffusers', 'SD3Transformer2DModel'] }) },
      'sd3',
    );
    await expect(StableDiffusionPipeline.fromPretrained(source)).rejects.toThrow(
      /unet got SD3Transformer2DModel, expected UNet2DConditionModel/,
    );
  });

  it('loads a model from a FileSource', async () => {
    const pipeline = await StableDiffusionPipeline.fromPretrained(directory(modelPath('sd2-tiny')));
    expect(pipeline.vaeScaleFactor).toBe(4);
  });
});
