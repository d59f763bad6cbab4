import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import { dispose, tensor4d } from '@tensorflow/tfjs-core';
import { disposeTensors, OnnxRuntimeEngine, random } from '@alignprop/autograd-ext';
import { StableDiffusionPipeline, type RgbImage } from '@alignprop/diffusion';
import { describe, expect, it } from 'vitest';
import { lockStep } from '../__fixtures__/lock-step.js';
import { brightness, collect, oneStepConfig, tinyTrainer, trainedValues } from '../__fixtures__/tiny-run.js';
import { out, pipeline, tinySuite } from '../__fixtures__/tiny-suite.js';
import { parseAlignPropConfig, type AlignPropConfigInput } from '../config/config.js';
import { DirectAlign } from '../estimators/direct-align.js';
import { DataBatches } from '../data/data-batches.js';
import { encodeExample } from '../data/encode-example.js';
import type { DataExample, Dataset } from '../data/examples.js';
import { priorExamples } from '../data/prior-examples.js';
import { AlignPropTrainer, type AlignPropTrainerOptions } from '../trainer.js';

tinySuite();

const latents = (seed: number): Float32Array => random(seed).randn(64);
const image = (seed: number, [height, width] = [16, 16] as const): RgbImage => ({
  ...{ height, width },
  data: Uint8Array.from(random(seed).randint(0, 256, height * width * 3)),
});
const dataset: readonly DataExample[] = [
  { caption: 'a crab', latents: latents(1) },
  { caption: 'a fox', image: image(2) },
  { caption: 'an owl', latents: latents(3) },
];

/** Trains and returns the metrics and the trained values. */
async function run(config: AlignPropConfigInput, options: Partial<AlignPropTrainerOptions<undefined>> = {}) {
  const trainer = tinyTrainer({
    pipeline,
    dataset,
    ...options,
    config: { ...oneStepConfig, num_epochs: 4, ...config },
  });
  try {
    const steps = await collect(trainer);
    return { steps, weights: trainedValues(trainer.pipeline) };
  } finally {
    trainer.dispose();
  }
}

describe('data_weight', () => {
  it('adds the loss of the data, reports it, and draws the same prompts and noise as without', async () => {
    const config = { train_gradient_accumulation_steps: 2, data_batch_size: 2, num_epochs: 2, output_dir: out };
    const plain = await run({ ...config, output_dir: '' }, { dataset: undefined });
    const { steps, weights } = await run({ ...config, data_weight: 0.5 });
    expect(plain.steps.some((step) => 'dataLoss' in step)).toBe(false);
    expect(steps[0]!.rewardMean).toBe(plain.steps[0]!.rewardMean);
    expect(weights).not.toEqual(plain.weights);
    for (const { loss, dataLoss, rewardMean } of steps) {
      expect(dataLoss).toBeGreaterThan(0);
      expect(loss).toBeCloseTo(0.5 * dataLoss! - rewardMean, 6);
    }
    const lines = (await readFile(join(out, 'metrics.jsonl'), 'utf8')).trim().split('\n');
    expect(lines.map((line) => (JSON.parse(line) as { data_loss: number }).data_loss)).toEqual(
      steps.map(({ dataLoss }) => dataLoss),
    );
  });

  it.each<[string, Dataset]>([
    ['a list', dataset],
    [
      'a function that answers later',
      async (generator) => {
        await Promise.resolve();
        return { caption: 'a snail', latents: generator.randn(64) };
      },
    ],
  ])('resumes bit for bit with %s', async (_, data) => {
    const config = { data_weight: 1, data_batch_size: 2 };
    const straight = await run(config, { dataset: data });
    await run({ ...config, num_epochs: 2, output_dir: out }, { dataset: data });
    const resumed = await run({ ...config, output_dir: out, resume_from: out }, { dataset: data });
    expect(resumed.steps).toEqual(straight.steps.slice(2));
    expect(resumed.weights).toEqual(straight.weights);
  });

  it('averages over processes, each of which draws data of its own', async () => {
    const config = { data_weight: 1, num_epochs: 1, kl_weight: 0.1 };
    const results = await Promise.all(lockStep(2).ranks.map((collective) => run(config, { collective })));
    expect(results[1]).toEqual(results[0]);
    const alone = [await run({ ...config, seed: 0 }), await run({ ...config, seed: 1 })].map(({ steps }) => steps[0]!);
    expect(alone[0]!.dataLoss).not.toBe(alone[1]!.dataLoss);
    // Rank 1 draws as seed 1, from the adapter of seed 0; both adapters change nothing at first.
    expect(results[0]!.steps[0]!.dataLoss).toBeCloseTo((alone[0]!.dataLoss! + alone[1]!.dataLoss!) / 2, 5);
  });

  it.each<[string, AlignPropConfigInput, Dataset | undefined, string]>([
    ['a weight without data', { data_weight: 1 }, undefined, 'data_weight: got 1 without data. Pass dataset'],
    ['data without a weight', {}, dataset, 'dataset: has no effect with data_weight 0'],
    ['no data', { data_weight: 1 }, [], 'dataset: got no example, expected at least one.'],
    [
      'an image of another size',
      { data_weight: 1 },
      [dataset[0]!, { caption: 'a', image: image(1, [8, 16] as never) }],
      'dataset: example 1 has an image of 8 × 16 with 384 bytes, expected 16 × 16 with 3 a pixel',
    ],
    [
      'latents of another size',
      { data_weight: 1 },
      [{ caption: 'a', latents: latents(1).subarray(1) }],
      'dataset: example 0 has 63 latents, expected 4 · 4 · 4 for the size that is trained.',
    ],
    ['no picture', { data_weight: 1 }, [{ caption: 'a' }], 'has neither an image and latents, expected one of them'],
    [
      'two pictures',
      { data_weight: 1 },
      [{ caption: 'a', image: image(1), latents: latents(1) }],
      'has both an image and latents',
    ],
    [
      'no caption',
      { data_weight: 1 },
      [{ latents: latents(1) } as never],
      'has the caption undefined, expected a text',
    ],
  ])('refuses %s', async (_, config, data, message) => {
    await expect(run(config, { dataset: data })).rejects.toThrow(message);
  });

  it('refuses what a function returns, and stops without moving a weight', async () => {
    const data = () => ({ caption: 'a', latents: latents(1).subarray(2) });
    await expect(run({ data_weight: 1 }, { dataset: data })).rejects.toThrow(
      'dataset: what the function returned has 62 latents',
    );
  });

  it('refuses few-step models, whose distillation it would undo', async () => {
    const config: AlignPropConfigInput = { data_weight: 1, scheduler: 'lcm' };
    await expect(run(config)).rejects.toThrow(
      /dataset: got a model with the scheduler of consistency models.*, expected a model of many steps/,
    );
  });
});

describe('estimator_images dataset', () => {
  const config = { estimator: 'direct-align', estimator_images: 'dataset', data_weight: 0 } as const;
  const promptFunction = () => {
    throw new Error('No prompt is drawn.');
  };

  it('shows the reward the pictures of the dataset, with their captions as prompts', async () => {
    const shown: { prompts: readonly string[]; images: Float32Array }[] = [];
    const imageSamplesHook: AlignPropTrainerOptions<undefined>['imageSamplesHook'] = ({ prompts, images }) =>
      void shown.push({ prompts, images: images.dataSync<'float32'>().slice() });
    const encoded = [dataset[0]!, dataset[2]!];
    const late = { ...config, estimator_last: 1, train_batch_size: 2 };
    await run(late, { dataset: encoded, promptFunction, imageSamplesHook });
    expect(new Set(shown.flatMap(({ prompts }) => prompts))).toEqual(new Set(['a crab', 'an owl']));
    const decode = async (values: Float32Array) => {
      const given = tensor4d(values, [1, 4, 4, 4]);
      const images = await pipeline.decode(given);
      const pixels = await images.data<'float32'>();
      dispose([given, images]);
      return pixels;
    };
    const pictures = new Map<string, Float32Array>();
    for (const { caption, latents: values } of encoded) pictures.set(caption, await decode(values!));
    const distance = (a: Float32Array, b: Float32Array) => Math.hypot(...a.map((value, i) => value - b[i]!));
    for (const { prompts, images } of shown)
      prompts.forEach((prompt, i) => {
        const other = prompt === 'a crab' ? 'an owl' : 'a crab';
        const image = images.subarray(i * 768, (i + 1) * 768);
        const far = distance(image, pictures.get(other)!);
        expect(distance(image, pictures.get(prompt)!)).toBeLessThan(0.1 * far);
      });
  });

  it('learns from them, and resumes bit for bit, also with the loss of the data', async () => {
    for (const data_weight of [0, 0.5]) {
      const both = { ...config, data_weight };
      const folder = join(out, String(data_weight));
      const straight = await run(both, { promptFunction });
      await run({ ...both, num_epochs: 2, output_dir: folder }, { promptFunction });
      const resumed = await run({ ...both, output_dir: folder, resume_from: folder }, { promptFunction });
      expect(straight.steps.every(({ gradNorm }) => gradNorm > 0)).toBe(true);
      expect(resumed.steps).toEqual(straight.steps.slice(2));
      expect(resumed.weights).toEqual(straight.weights);
    }
  });

  it.each<[string, AlignPropConfigInput, Partial<AlignPropTrainerOptions<undefined>>, RegExp]>([
    ['no data', {}, { dataset: undefined }, /estimator_images: got 'dataset' without data\. Pass dataset/],
    ['other estimators', { estimator: 'refl' }, {}, /estimator_images: got dataset, which the estimator 'refl' does/],
    ['a plan that walks a chain', {}, { plan: new DirectAlign(2) }, /starts from noise, but estimator_images is 'data/],
    ['no example', {}, { dataset: [] }, /dataset: got no example, expected at least one/],
  ])('refuses %s', async (_, more, options, message) => {
    await expect(run({ ...config, ...more }, options)).rejects.toThrow(message);
  });
});

describe('data_caption_dropout', () => {
  it('takes the empty prompt as often as its probability, and leaves the draws of others as they are', async () => {
    const generatorOf = () => random(7);
    const config = { data_batch_size: 64, clip_skip: 0, height: 16, width: 16 };
    const draw = async (data_caption_dropout: number) => {
      const given = { ...config, data_caption_dropout };
      const { captions, timesteps, ...tensors } = await new DataBatches(pipeline, dataset, given, generatorOf()).draw();
      disposeTensors(tensors);
      return { captions, timesteps };
    };
    const [none, some, all] = [await draw(0), await draw(0.3), await draw(1)];
    expect(none.captions).not.toContain('');
    expect(new Set(all.captions)).toEqual(new Set(['']));
    const emptied = some.captions.filter((caption) => caption === '').length / 64;
    expect(emptied).toBeGreaterThan(0.15);
    expect(emptied).toBeLessThan(0.45);
    some.captions.forEach((caption, i) => expect(['', none.captions[i]]).toContain(caption));
    expect(some.timesteps).toEqual(none.timesteps);
  });

  it('changes the loss, and resumes bit for bit', async () => {
    const config = { data_weight: 1, data_batch_size: 2, data_caption_dropout: 0.5 };
    const straight = await run(config);
    expect(straight.weights).not.toEqual((await run({ ...config, data_caption_dropout: 0 })).weights);
    await run({ ...config, num_epochs: 2, output_dir: out });
    const resumed = await run({ ...config, output_dir: out, resume_from: out });
    expect(resumed.steps).toEqual(straight.steps.slice(2));
    expect(resumed.weights).toEqual(straight.weights);
  });
});

describe('encodeExample', () => {
  it('gives the latents that training would draw from the image, and leaves others as they are', async () => {
    const encoded = await encodeExample(pipeline, dataset[1]!, random(4));
    expect(encoded).toMatchObject({ caption: 'a fox', latents: { length: 64 } });
    expect(encoded.image).toBeUndefined();
    expect(await encodeExample(pipeline, encoded, random(5))).toEqual(encoded);
    const direct = await run({ data_weight: 1, num_epochs: 1 }, { dataset: [encoded] });
    expect(direct.steps[0]!.dataLoss).toBeGreaterThan(0);
  });
});

describe('priorExamples', () => {
  it('keep predictions close to those of the model that drew them', async () => {
    const model = fileURLToPath(new URL('../../../cli/models/tiny-emoji', import.meta.url));
    const trained = await StableDiffusionPipeline.fromPretrained(model, { engine: new OnnxRuntimeEngine() });
    const config = parseAlignPropConfig({
      ...{ sample_num_steps: 3, sample_guidance_scale: 1, num_epochs: 5 },
      ...{ truncated_backprop_rand: false, truncated_backprop_timestep: 1, kl_weight: 1e-12 },
    });
    const options = { config, prompts: ['crab', 'fox face'], count: 3 };
    const prior = await priorExamples(trained, options);
    expect(prior.map(({ caption }) => caption)).toEqual(['crab', 'fox face', 'crab']);
    expect(await priorExamples(trained, { ...options, count: 2 })).toEqual(prior.slice(0, 2));
    /** The mean squared difference from the predictions without the adapter, after four steps. */
    const drift = async (data_weight: number): Promise<number> => {
      const trainer = new AlignPropTrainer({
        ...{ pipeline: trained, promptFunction: () => 'crab', rewardFunction: brightness },
        dataset: data_weight > 0 ? prior : undefined,
        config: { ...config, data_weight, data_batch_size: 2 },
      });
      const steps = await collect(trainer);
      trainer.dispose();
      return steps.at(-1)!.kl!;
    };
    const [free, held] = [await drift(0), await drift(1e4)];
    expect(free).toBeGreaterThan(0.005);
    expect(held).toBeLessThan(0.5 * free);
    trained.dispose();
  });

  it('refuses to draw without prompts', async () => {
    const options = { config: parseAlignPropConfig(), prompts: [], count: 1 };
    await expect(priorExamples(pipeline, options)).rejects.toThrow('prompts got none, expected at least one.');
  });
});
