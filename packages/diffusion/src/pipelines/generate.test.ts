import { div, memory, mul, round, slice, tidy, type Tensor4D } from '@tensorflow/tfjs-core';
import { random, TfjsEngine } from '@alignprop/autograd-ext';
import { expectNoLeaks } from '@alignprop/autograd-ext/testing';
import { afterAll, beforeAll, describe, expect, expectTypeOf, it } from 'vitest';
import { startEngine } from '../../../../fixtures/engines.js';
import { expectClose, fixturePath } from '../../../../fixtures/index.js';
import type { GeneratedImage } from '../image/generated-image.js';
import { toUint8 } from '../image/to-uint8.js';
import { schedulerFor } from '../schedulers/create-scheduler.js';
import type { GeneratedImages, GeneratedTensors } from './generated.js';
import type { GenerateOptions, StepProgress } from './generate-options.js';
import { StableDiffusionPipeline } from './stable-diffusion.js';

const size = { height: 16, width: 24 };
const settings = { ...size, numInferenceSteps: 3, seed: 7 };

const open = async (name: 'wasm' | 'onnxruntime', model = 'sd2-tiny') => {
  const engine = await startEngine(name);
  return StableDiffusionPipeline.fromPretrained(fixturePath(`${model}/model`), { engine });
};

describe('StableDiffusionPipeline.generate', () => {
  let pipeline: StableDiffusionPipeline;
  beforeAll(async () => {
    pipeline = await open('wasm');
    await pipeline.generate('a cat', settings); // reads the weights
  });
  afterAll(() => pipeline.dispose());

  it('returns images with the bytes of the tensors, under either name of an option, and keeps no tensor', async () => {
    const before = memory().numTensors;
    const drawn = await pipeline.generate({
      ...size,
      prompt: ['a cat', 'a dog'],
      num_inference_steps: 3,
      seed: 7,
      num_images_per_prompt: 2,
      negative_prompt: 'dull',
    });
    expect(memory().numTensors).toBe(before);
    expectTypeOf(drawn).toEqualTypeOf<GeneratedImages>();
    const [first] = drawn;
    expectTypeOf(first).toEqualTypeOf<GeneratedImage>();
    expect(drawn.images).toBe(drawn);
    expect(drawn).toHaveLength(4);
    const tensors = await pipeline.generate(['a cat', 'a dog'], {
      ...settings,
      numImagesPerPrompt: 2,
      negativePrompt: 'dull',
      outputType: 'tensor',
    });
    expectTypeOf(tensors).toEqualTypeOf<GeneratedTensors>();
    expect(tensors.images.shape).toEqual([4, 16, 24, 3]);
    expect(drawn.map(({ data }) => data)).toEqual(await toUint8(tensors.images));
    expect([drawn.seed, tensors.seed, drawn.truncated]).toEqual([7, 7, ['', '']]);
    expect(drawn[2]!.settings).toEqual({
      ...{ prompt: 'a dog', negativePrompt: 'dull', steps: 3, sampler: 'DDIMScheduler', guidanceScale: 7.5 },
      ...{ guidanceRescale: 0, eta: 0, seed: 7, ...size, extra: { 'Batch size': 4, 'Batch pos': 2 } },
    });
    tensors.images.dispose();
    tensors.latents.dispose();
    expect(memory().numTensors).toBe(before);
  });

  it('tells each step, and stops the chain where it is told to, also later', async () => {
    const steps: Omit<StepProgress, 'latents' | 'step' | 'stop'>[] = [];
    const means: number[] = [];
    const whole = await expectNoLeaks(() =>
      pipeline.generate('a cat', {
        ...settings,
        outputType: 'tensor',
        onStep: async ({ index, total, t, latents, step }) => {
          steps.push({ index, total, t });
          expect(step.t).toBe(t);
          means.push((await latents.data())[0]!);
        },
      }),
    );
    const schedule = pipeline.scheduler.timesteps(3);
    expect(steps).toEqual(schedule.map(({ t }, index) => ({ index, total: schedule.length, t })));
    expect(whole.latents.isDisposed).toBe(true);
    expect(new Set(means).size).toBe(means.length);

    for (const later of [false, true]) {
      let kept: Tensor4D | undefined;
      const stopped = await expectNoLeaks(async () => {
        const drawn = await pipeline.generate('a cat', {
          ...settings,
          outputType: 'tensor',
          onStep: async ({ index, latents, stop }) => {
            if (later) await new Promise((resolve) => setTimeout(resolve, 5));
            if (index > 0) throw new Error('the chain went on');
            kept = latents.clone();
            stop();
          },
        });
        const images = await pipeline.decode(kept!);
        expect([...drawn.images.dataSync()]).toEqual([...images.dataSync()]);
        expect(drawn.latents.dataSync()[0]).toBe(means[0]);
        return [drawn.images, drawn.latents, images, kept];
      });
      expect(stopped).toHaveLength(4);
    }
    const goesOn: string[] = [];
    await pipeline.generate('a cat', { ...settings, onStep: () => (goesOn.push(''), false) });
    expect(goesOn).toHaveLength(schedule.length); // a callback may well end in false: `index > 5 && preview()`
  });

  it('frees everything when onStep throws', async () => {
    const before = memory().numTensors;
    const onStep = () => Promise.reject(new Error('no preview'));
    await expect(pipeline.generate('a cat', { ...settings, onStep })).rejects.toThrow('no preview');
    expect(memory().numTensors).toBe(before);
  });

  it('refuses lists of seeds and generators that are not as long as the batch', async () => {
    const refusal = (options: GenerateOptions) =>
      expect(pipeline.generate(['a', 'b'], { ...size, ...options })).rejects;
    await refusal({ seed: [1] }).toThrow(/seed got a list of 1 for 2 images, expected one seed, or 2 of them/);
    await refusal({ seed: [] }).toThrow(/seed got a list of 0 for 2 images/);
    await refusal({ seed: [1, 2], numImagesPerPrompt: 2 }).toThrow(/seed got a list of 2 for 4 images/);
    await refusal({ generator: [random(1)] }).toThrow(/generator got a list of 1 for 2 images/);
    await refusal({ seed: [1, 0.5] }).toThrow(/seed got 0.5, expected an integer/);
  });

  it('tells the device and the number format of its engine', async () => {
    expect([pipeline.device, pipeline.dtype]).toEqual(['wasm', 'float32']);
    const half = pipeline.with({ engine: Object.assign(new TfjsEngine(), { precision: 'float16' as const }) });
    expect([half.device, half.dtype]).toEqual(['wasm', 'float16']);
  });

  it('starts from an image that it drew, or that has bytes, as from the tensor of its pixels', async () => {
    const [start] = await pipeline.generate('a cat', settings);
    const ddim = pipeline.with({ scheduler: schedulerFor('ddim', pipeline.scheduler.config) });
    const draw = (image: GenerateOptions['image']) =>
      ddim.generate({ prompt: ['a dog', 'an owl'], numInferenceSteps: 4, strength: 0.5, seed: 3, image });
    const { images } = await pipeline.generate('a cat', { ...settings, outputType: 'tensor' });
    const exact = tidy(() => div(round(mul(images, 255)), 255) as Tensor4D);
    const expected = (await draw(exact)).map(({ data }) => data); // reads the encoder's weights
    const before = memory().numTensors;
    expect((await draw(start)).map(({ data }) => data)).toEqual(expected);
    expect((await draw([start, { ...size, data: start.data }])).map(({ data }) => data)).toHaveLength(2);
    expect(memory().numTensors).toBe(before);
    for (const image of [[], [start, { height: 8, width: 8, data: new Uint8Array(192) }], { ...size, data: 1 }])
      await expect(draw(image as never)).rejects.toThrow(/image got .*, expected a tensor \[1, height, width, 3\], or/);
  });
});

// ONNX Runtime orders the sums of matrix products by the size of the batch.
describe.each([
  { name: 'wasm' as const, tolerance: 0 },
  { name: 'onnxruntime' as const, tolerance: 1e-3 }, // that of the chains against diffusers
])('one seed per image on $name', ({ name, tolerance }) => {
  it.each([
    { model: 'sd2-tiny', scheduler: 'ddim', eta: 1, from: 'noise' },
    { model: 'sdxl-tiny', scheduler: 'EulerAncestralDiscreteScheduler', eta: 0, from: 'noise' },
    { model: 'sd2-tiny', scheduler: 'ddim', eta: 1, from: 'an image' },
  ])('draws what each seed draws alone: $model, $scheduler, from $from', async (run) => {
    const base = await open(name, run.model);
    const pipeline = base.with({ scheduler: schedulerFor(run.scheduler, base.scheduler.config) });
    const image = { ...size, data: Uint8Array.from({ length: 16 * 24 * 3 }, (_, i) => (i * 3) % 255) };
    const common = { numInferenceSteps: 2, eta: run.eta, ...(run.from === 'noise' ? size : { image }) };
    const draw = async (prompt: string[], options: GenerateOptions) => {
      const { images, latents, seed } = await pipeline.generate(prompt, {
        ...common,
        ...options,
        outputType: 'tensor',
      });
      return { images, latents, seed };
    };
    const seeds = [11, 5, 11];
    const batch = await draw(['a cat', 'a dog', 'a dog'], { seed: seeds });
    expect(batch.seed).toEqual(seeds);
    for (const [i, seed] of seeds.entries()) {
      const alone = await draw([i === 0 ? 'a cat' : 'a dog'], { seed });
      for (const part of ['latents', 'images'] as const)
        expectClose(slice(batch[part], [i], [1]), alone[part], tolerance, `${part} of seed ${seed}`);
    }
    const [first, second] = [1, 2].map((i) => [...slice(batch.latents, [i], [1]).dataSync()]);
    expect(first).not.toEqual(second);

    const generator = seeds.map(random);
    const drawn = await pipeline.generate(['a cat', 'a dog', 'a dog'], { ...common, generator });
    expect(drawn.map(({ data }) => data)).toEqual(await toUint8(batch.images));
    const seeded = await pipeline.generate(['a cat', 'a dog', 'a dog'], { ...common, seed: seeds });
    expect(seeded.map(({ settings: { seed, extra } }) => ({ seed, extra }))).toEqual(
      seeds.map((seed) => ({ seed, extra: {} })),
    );
    pipeline.dispose();
  });
});
