import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import {
  dispose,
  mean,
  mul,
  scalar,
  square,
  sub,
  tensor,
  tensor1d,
  tidy,
  tile,
  variable,
  zeros,
  zerosLike,
  type Tensor,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import {
  flattenTensors,
  isStoredTensor,
  mapTensors,
  OnnxRuntimeEngine,
  random,
  randn,
  TfjsEngine,
  useBackend,
  vjp,
  type Engine,
  type Params,
  type StoredTensor,
} from '@alignprop/autograd-ext';
import { expectNoLeaks } from '@alignprop/autograd-ext/testing';
import { DDIMScheduler, guidedPrediction, StableDiffusionPipeline, toUint8 } from '@alignprop/diffusion';
import { loadLora } from '@alignprop/lora';
import { jpegCompressibility } from '@alignprop/rewards';
import { beforeAll, describe, expect, it } from 'vitest';
import { fixturePath } from '../../../../fixtures/index.js';
import { tinyPipeline } from '../__fixtures__/tiny-run.js';
import { accumulate, type Gradients } from '../optim/gradients.js';
import { full } from '../estimators/draft.js';
import { chainOf } from '../estimators/__fixtures__/chains.js';
import { drawPlan } from '../estimators/plans.js';
import { preparePipeline } from '../model/prepare-pipeline.js';
import { parseDDPOConfig } from './ddpo-config.js';
import { policyGradient, type TakenStep } from './policy-gradient.js';
import { drawSamples, type Sample } from './samples.js';
import { DDPOTrainer, type DDPOMetrics, type DDPOTrainerOptions } from './trainer.js';

const steps = 3;
const options = { numInferenceSteps: steps, guidanceScale: 5, eta: 1 };
const latentShape: [number, number, number] = [4, 4, 4];
const tokens = 77;

/** A pipeline whose adapter changes its predictions. */
async function adapted(engine: Engine): Promise<StableDiffusionPipeline> {
  const pipeline = await tinyPipeline(engine);
  const prepared = preparePipeline(pipeline, { ...parseDDPOConfig(), train_text_encoder: false }, random(1));
  Object.values(prepared.weights.variables).forEach((value, i) =>
    tidy(() => value.assign(mul(randn(random(100 + i), value.shape as number[]), 0.1))),
  );
  return prepared.pipeline;
}

async function twoSamples(pipeline: StableDiffusionPipeline): Promise<readonly Sample[]> {
  const prompts = ['cat', 'a horse'];
  const [promptEmbeds, negativePromptEmbeds] = [
    (await pipeline.encodePrompt(prompts)).promptEmbeds,
    (await pipeline.encodePrompt(['', ''])).promptEmbeds,
  ];
  const latents = pipeline.prepareLatents({
    batch: 2,
    numInferenceSteps: 2,
    height: 16,
    width: 16,
    generator: random(2),
  });
  const { samples, images } = await drawSamples(pipeline, options, {
    latents,
    promptEmbeds,
    negativePromptEmbeds,
    prompts,
    noise: random(3),
    plan: drawPlan(full(), chainOf(steps), random(0)),
  });
  dispose([promptEmbeds, negativePromptEmbeds, latents, images]);
  return samples;
}

/** Reads weights that are in files into tensors. */
async function readWeights(params: Params): Promise<{ params: Params; tensors: Tensor[] }> {
  const entries = await Promise.all(
    Object.entries(flattenTensors(params))
      .filter(([, leaf]) => isStoredTensor(leaf))
      .map(async ([path, leaf]) => [path, tensor(await (leaf as StoredTensor).read(), [...leaf.shape])] as const),
  );
  const tensors = new Map(entries);
  return { params: mapTensors(params, (path, leaf) => tensors.get(path) ?? leaf), tensors: [...tensors.values()] };
}

/** ∇ mean(-A log p), one step at a time through the scheduler's own step: REINFORCE. */
async function reinforceGradient(
  { unet, scheduler }: StableDiffusionPipeline,
  taken: readonly TakenStep[],
): Promise<Gradients> {
  const read = await readWeights(unet.params);
  const predict = guidedPrediction(unet.config);
  const gradients = taken.reduce<Gradients>((all, { sample, step, advantage }) => {
    const [x, next] = [step.index, step.index + 1].map(
      (i) => tensor(sample.latents[i]!, [1, ...latentShape]) as Tensor4D,
    );
    const { promptEmbeds, negativePromptEmbeds } = sample.conditioning;
    const width = promptEmbeds!.length / tokens;
    const embeds = tensor([...negativePromptEmbeds!, ...promptEmbeds!], [2, tokens, width]);
    const [t, scale] = [tensor1d([step.t]), scalar(options.guidanceScale)];
    const { value, params } = vjp(
      (weights) => {
        const prediction = predict(weights, x!, t, embeds, scale) as Tensor4D;
        const { prevSample } = scheduler.step(prediction, step, x!, { eta: 1, noise: zerosLike(x!) });
        const variance = scheduler.coefficients(step, 1).noise ** 2;
        // -A log p, up to a constant
        return mul(mean(square(sub(next!, prevSample))), advantage / (2 * variance * taken.length));
      },
      read.params,
      [],
    );
    dispose([x!, next!, embeds, t, scale, value]);
    return accumulate(all, params);
  }, {});
  dispose(read.tensors);
  return gradients;
}

function expectNear(actual: Gradients, expected: Gradients, tolerance: number): void {
  expect(Object.keys(actual).sort()).toEqual(Object.keys(expected).sort());
  const scale = Math.max(...Object.values(expected).flatMap((x) => [...x.dataSync()].map(Math.abs)));
  expect(scale).toBeGreaterThan(0);
  for (const [path, gradient] of Object.entries(actual)) {
    const wanted = expected[path]!.dataSync();
    gradient
      .dataSync()
      .forEach((value, i) =>
        expect(Math.abs(value - wanted[i]!), `${path}[${i}]`).toBeLessThanOrEqual(tolerance * scale),
      );
  }
}

describe.each([
  ['tfjs', () => new TfjsEngine()],
  ['ONNX Runtime', () => new OnnxRuntimeEngine()],
] as const)("DDPO's gradient on %s", (_, engineOf) => {
  beforeAll(() => useBackend('wasm'));

  it('equals that of REINFORCE where all ratios are 1, and vanishes where they are clipped', async () => {
    const pipeline = await adapted(engineOf());
    const samples = await twoSamples(pipeline);
    const schedule = pipeline.scheduler.timesteps(steps);
    const taken = [
      { sample: samples[0]!, step: schedule[0]!, advantage: 1.5 },
      { sample: samples[1]!, step: schedule[2]!, advantage: -0.5 },
    ];
    const gradientOf = policyGradient(pipeline, { latentShape, ...options, clipRange: 1e-2 });

    const { params, loss, logRatios } = await gradientOf(taken, 0.5);
    logRatios.forEach((logRatio) => expect(Math.abs(logRatio)).toBeLessThan(2e-5));
    expect(loss).toBeCloseTo((-1.5 + 0.5) / 2, 4);
    const doubled = Object.fromEntries(Object.entries(params).map(([path, value]) => [path, mul(value, 2)]));
    expectNear(doubled, await reinforceGradient(pipeline, taken), 1e-3);

    // Simulates weights under which the first sample was less probable and the second more.
    const moved = taken.map(({ sample, ...rest }, i) => ({
      ...rest,
      sample: { ...sample, logProbs: sample.logProbs.map((logProb) => logProb + [-0.1, 0.1][i]!) },
    }));
    const clipped = await gradientOf(moved, 1);
    expect(clipped.logRatios.map((logRatio) => logRatio.toFixed(3))).toEqual(['0.100', '-0.100']);
    expect(clipped.loss).toBeCloseTo((-1.5 * 1.01 + 0.5 * 0.99) / 2, 4);
    Object.values(clipped.params).forEach((gradient) => expect(Math.max(...gradient.dataSync().map(Math.abs))).toBe(0));
    pipeline.dispose();
  });
});

const animals = ['cat', 'dog', 'horse', 'crab'];

function trainerOf(
  pipeline: StableDiffusionPipeline,
  { config, ...rest }: Partial<DDPOTrainerOptions<number>> = {},
): DDPOTrainer<number> {
  return new DDPOTrainer<number>({
    pipeline,
    promptFunction: (generator) => [animals[generator.randint(0, animals.length, 1)[0]!]!, 7],
    rewardFunction: brightness,
    ...rest,
    config: {
      sample_num_steps: 2,
      sample_guidance_scale: 1,
      sample_batch_size: 2,
      train_batch_size: 2,
      num_epochs: 1,
      height: 16,
      width: 16,
      ...config,
    },
  });
}

/** Reads pixels, so that it has no gradient. */
const brightness = async (images: Tensor4D): Promise<number[]> =>
  (await toUint8(images)).map((data) => data.reduce((sum, value) => sum + value, 0) / data.length);

async function collect<M>(trainer: DDPOTrainer<M>, signal?: AbortSignal): Promise<DDPOMetrics[]> {
  const all: DDPOMetrics[] = [];
  for await (const metrics of trainer.train({ signal })) all.push(metrics);
  return all;
}

/** A policy with four parameters, the bias of the UNet's prediction, so that few images show a direction. */
async function withTrainableBias(pipeline: StableDiffusionPipeline): Promise<StableDiffusionPipeline> {
  const path = 'conv_out.bias';
  const bias = variable(tensor1d(await (flattenTensors(pipeline.unet.params)[path] as StoredTensor).read()));
  return pipeline.with({
    unet: pipeline.unet.withParams(mapTensors(pipeline.unet.params, (other, leaf) => (other === path ? bias : leaf))),
  });
}

/** An estimate from the images of how far the first channel of the latents is raised. */
async function seenChannel(pipeline: StableDiffusionPipeline): Promise<(images: Tensor4D) => Float32Array> {
  const raised = tensor([1, 0, 0, 0], [1, 1, 1, 4]);
  const latents = [zeros([1, 2, 2, 4]), tile(raised, [1, 2, 2, 1])] as Tensor4D[];
  const [plain, changed] = [await pipeline.decode(latents[0]!), await pipeline.decode(latents[1]!)];
  return (images) => tidy(() => mean(mul(sub(images, plain), sub(changed, plain)), [1, 2, 3]).dataSync<'float32'>());
}

describe('DDPOTrainer', () => {
  beforeAll(() => useBackend('wasm'));

  it('raises or lowers a property of the images, with rewards that have no gradient', async () => {
    const pipeline = await tinyPipeline();
    const seen = await seenChannel(pipeline);
    const config = {
      use_lora: false,
      sample_num_steps: 3,
      sample_batch_size: 48,
      sample_num_batches_per_epoch: 1,
      train_batch_size: 48,
      train_learning_rate: 0.15,
      num_epochs: 6,
      height: 8,
      width: 8,
    };
    const ends: { mean: number; std: number }[] = [];
    for (const sign of [1, -1]) {
      const policy = await withTrainableBias(pipeline);
      const trainer = trainerOf(policy, {
        config,
        rewardFunction: (images) => seen(images).map((value) => sign * value),
      });
      const metrics = await collect(trainer);
      // One optimizer step an epoch: the weights that are trained are those that drew the images.
      metrics.forEach(({ approxKl, clipFraction }) => expect([approxKl < 1e-9, clipFraction]).toEqual([true, 0]));
      const last = metrics.slice(-3);
      ends.push({
        mean: (sign * last.reduce((sum, { rewardMean }) => sum + rewardMean, 0)) / last.length,
        std: metrics[0]!.rewardStd,
      });
      trainer.dispose();
    }
    const [up, down] = ends as [(typeof ends)[0], (typeof ends)[0]];
    expect(up.mean - down.mean).toBeGreaterThan(up.std); // the mean of 144 images is known to 0.08 of it
  });

  it('raises the probability of good images over several inner epochs', async () => {
    const trainer = trainerOf(await tinyPipeline(), {
      config: {
        sample_batch_size: 4,
        train_batch_size: 2,
        train_gradient_accumulation_steps: 4,
        train_num_inner_epochs: 3,
        train_clip_range: 0.5,
        train_learning_rate: 1e-4,
      },
    });
    const [metrics] = await collect(trainer);
    expect(trainer.globalStep).toBe(3);
    expect(metrics!.loss).toBeLessThan(-1e-6); // 0 in the first round, as advantages have mean 0; less in the others
    expect(metrics!.approxKl).toBeGreaterThan(1e-12);
    trainer.dispose();
  });

  it('passes on prompts and metadata, reports every epoch, and writes the adapter', async () => {
    const output_dir = await mkdtemp(`${tmpdir()}/ddpo-`);
    const pipeline = await tinyPipeline();
    const calls: [number, readonly string[], readonly number[]][] = [];
    const shown: [number, number][] = [];
    const trainer = trainerOf(pipeline, {
      config: {
        output_dir,
        num_epochs: 2,
        per_prompt_stat_tracking: true,
        async_reward_computation: true,
        train_timestep_fraction: 0.5,
      },
      rewardFunction: (images, prompts, metadata) => (
        calls.push([images.shape[0], prompts, metadata]),
        tensor1d(prompts.map((_, i) => calls.length + i))
      ),
      imageSamplesHook: ({ images, rewards }, globalStep) =>
        void shown.push([globalStep, rewards.size === images.shape[0] ? rewards.dataSync()[0]! : NaN]),
    });
    const metrics = await collect(trainer);
    trainer.dispose();
    expect(
      calls.map(([size, prompts, metadata]) => [size, prompts.every((prompt) => animals.includes(prompt)), metadata]),
    ).toEqual(new Array(4).fill([2, true, [7, 7]]));
    expect(shown).toEqual([
      [0, 2],
      [2, 4],
    ]);
    expect(
      metrics.map(({ epoch, globalStep, rewardMean, rewardStd }) => [
        epoch,
        globalStep,
        rewardMean,
        rewardStd.toFixed(3),
      ]),
    ).toEqual([
      [0, 0, 2, '0.707'],
      [1, 2, 4, '0.707'],
    ]);
    const lines = (await readFile(`${output_dir}/metrics.jsonl`, 'utf8'))
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, number>);
    expect(
      lines.map(({ epoch, reward_mean, approx_kl, clipfrac }) => [
        epoch,
        reward_mean,
        typeof approx_kl,
        typeof clipfrac,
      ]),
    ).toEqual([
      [0, 2, 'number', 'number'],
      [1, 4, 'number', 'number'],
    ]);
    expect(Object.keys((await loadLora(output_dir)).modules).length).toBeGreaterThan(0);
    await rm(output_dir, { recursive: true });
  });

  it('runs a reward with a model, leaks nothing, and is deterministic', async () => {
    const pipeline = await tinyPipeline();
    const once = async () => {
      const trainer = trainerOf(pipeline, { rewardFunction: jpegCompressibility() });
      const metrics = await collect(trainer);
      trainer.dispose();
      return metrics.map(({ seconds: _, ...rest }) => rest);
    };
    const first = await once(); // reads the pipeline's weights
    await expectNoLeaks(async () => {
      expect(await once()).toEqual(first);
    });
  });

  it('names the image whose reward is not finite, and changes no weight', async () => {
    const pipeline = await tinyPipeline();
    const trainer = trainerOf(pipeline, { rewardFunction: () => [1, NaN] });
    await expect(collect(trainer)).rejects.toThrow(
      /DDPOTrainer: the score of rewardFunction for image 1 \('\w+'\) is NaN\. Nothing was trained on it\./,
    );
    expect(trainer.globalStep).toBe(0);
    trainer.dispose();
  });

  it('refuses the wrong number of rewards, and steps without noise', async () => {
    const pipeline = await tinyPipeline();
    const trainer = trainerOf(pipeline, { rewardFunction: () => [1], config: { reward_retries: 0 } });
    await expect(collect(trainer)).rejects.toThrow(
      'rewardFunction: returned an array of 1 number [1], expected a tensor [2] or 2 numbers, one score an image.',
    );
    trainer.dispose();
    const certain = pipeline.with({ scheduler: new DDIMScheduler({ clip_sample: false }) }); // ends at ᾱ = 1
    expect(() => trainerOf(certain)).toThrow(
      /DDPOTrainer: the step of DDIMScheduler at t = 0 adds no noise.*set_alpha_to_one false/,
    );
    const clipping = pipeline.with({ scheduler: new DDIMScheduler({ set_alpha_to_one: false }) });
    expect(() => trainerOf(clipping)).toThrow(/clip_sample got true/);
  });

  it('trains SDXL under the pooled texts and sizes that its images were drawn with', async () => {
    const { engine } = await tinyPipeline();
    const pipeline = await StableDiffusionPipeline.fromPretrained(fixturePath('sdxl-tiny/model'), { engine });
    const trainer = trainerOf(pipeline, { config: { sample_guidance_scale: 5, sample_num_batches_per_epoch: 1 } });
    const [{ approxKl, gradNorm }] = (await collect(trainer)) as [DDPOMetrics];
    // The weights that are trained are those that drew the images: so are all probabilities.
    expect([approxKl < 1e-9, gradNorm > 0]).toEqual([true, true]);
    trainer.dispose();
  });

  it('ends after a complete optimizer step when it is aborted', async () => {
    const controller = new AbortController();
    const trainer = trainerOf(await tinyPipeline(), {
      rewardFunction: (_, prompts) => (controller.abort(), prompts.map((_, i) => i)),
    });
    expect(await collect(trainer, controller.signal)).toEqual([]);
    expect(trainer.globalStep).toBe(0);
    trainer.dispose();
  });
});
