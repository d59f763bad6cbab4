import { mean, mul, square, sub, sum, tensor, tidy, type Tensor, type Variable } from '@tensorflow/tfjs-core';
import { random, trainable, type Engine } from '@alignprop/autograd-ext';
import { createScheduler, StableDiffusionPipeline, UNet2DConditionModel } from '@alignprop/diffusion';
import { addLora } from '@alignprop/lora';
import type { RewardFunction } from '@alignprop/rewards';
import { beforeAll, describe, expect, it } from 'vitest';
import { engineNames, startEngine } from '../../../../fixtures/engines.js';
import { expectClose, fixtureJson, fixturePath } from '../../../../fixtures/index.js';
import { parseAlignPropConfig, type AlignPropConfigInput } from '../config/config.js';
import { AlignPropGradient } from '../gradient/alignprop-gradient.js';
import { samplingOptions } from '../gradient/walk-down.js';
import { preparePipeline } from '../model/prepare-pipeline.js';
import { seededGenerators } from '../step/generators.js';
import { MicroBatches } from '../step/micro-batch.js';
import { backpropPlan } from '../estimators/config-plan.js';

/** The models of few steps, and an ordinary one through a scheduler that scales its input and draws noise. */
const models: Readonly<Record<string, { base: string; overlay?: string; config?: AlignPropConfigInput }>> = {
  'SD-Turbo': { base: 'sd2-tiny/model', overlay: 'sdxl-tiny/turbo/sd-turbo' },
  'latent consistency model': { base: 'sd15-tiny/model', overlay: 'lcm/overlay', config: { sample_num_steps: 2 } },
  'SD 2 through euler-ancestral': {
    base: 'sd2-tiny/model',
    config: { scheduler: 'euler-ancestral', sample_num_steps: 2, sample_guidance_scale: 3 },
  },
};

async function openModel(name: string, engine: Engine): Promise<StableDiffusionPipeline> {
  const { base, overlay } = models[name]!;
  const pipeline = await StableDiffusionPipeline.fromPretrained(fixturePath(base), { engine });
  if (!overlay) return pipeline;
  const scheduler = createScheduler(fixtureJson(`${overlay}/scheduler/scheduler_config.json`));
  if (overlay !== 'lcm/overlay') return pipeline.with({ scheduler });
  return pipeline.with({ scheduler, unet: await UNet2DConditionModel.fromPretrained(fixturePath(`${overlay}/unet`)) });
}

/** Smooth also where images are clipped to [0, 1], so that finite differences are exact. */
const contrast: RewardFunction = (images) => mul(mean(square(mul(images, sub(1, images))), [1, 2, 3]), 1000);

/** The gradient of one micro-batch with every step attached, and the reward of the same inputs for other weights. */
async function trainOnce(name: string, engine: Engine) {
  const given = await openModel(name, engine);
  const config = parseAlignPropConfig({ estimator: 'full', height: 16, width: 16, ...models[name]!.config }, given);
  const params = addLora(given.unet.params, { r: 2, loraAlpha: 2, targetModules: ['to_v', 'to_out.0'] }, random(1));
  const draws = random(2);
  for (const [path, weight] of Object.entries(trainable(params)))
    if (path.includes('lora_B')) weight.assign(mul(tensor(draws.randn(weight.size), weight.shape), 0.05) as Variable);
  const { pipeline } = preparePipeline(given.with({ unet: given.unet.withParams(params) }), config, random(0));
  const gradient = new AlignPropGradient(pipeline, contrast, samplingOptions(config));
  const compute = async () => {
    const generators = seededGenerators(0);
    const batches = new MicroBatches(pipeline, () => 'a photo of a cat', config, backpropPlan(config), generators);
    const texts = await batches.drawPrompts(0);
    const embeds = await batches.encode(texts);
    const inputs = { ...texts, ...embeds, latents: await batches.drawLatents(), plan: batches.drawPlan() };
    const result = await gradient.compute({ ...inputs, noise: generators.noise });
    batches.dispose();
    return { ...result, hasNegative: embeds.negativePromptEmbeds !== undefined };
  };
  return { config, pipeline, compute, weights: trainable(pipeline.unet.params) };
}

describe.each(Object.keys(models))('%s', (name) => {
  let expected: Awaited<ReturnType<Awaited<ReturnType<typeof trainOnce>>['compute']>>;
  let run: Awaited<ReturnType<typeof trainOnce>>;
  beforeAll(async () => {
    run = await trainOnce(name, await startEngine('wasm'));
    expected = await run.compute();
  });

  it('calls the UNet for a negative prompt only with guidance of two rows', () => {
    expect(expected.hasNegative).toBe(name === 'SD 2 through euler-ancestral');
    expect(expected.trajectory.steps).toHaveLength(name === 'SD-Turbo' ? 1 : 2);
  });

  it('has the gradient of finite differences along it', async () => {
    const norm = Math.sqrt(sumOfSquares(expected.params));
    const move = (distance: number) =>
      tidy(() => {
        for (const [path, weight] of Object.entries(run.weights))
          weight.assign(sub(weight, mul(expected.params[path]!, distance / norm)) as Variable);
      });
    const h = 0.01;
    move(h);
    const [above] = await (await run.compute()).rewards.data();
    move(-2 * h);
    const [below] = await (await run.compute()).rewards.data();
    move(h);
    // The gradient is that of -reward: a step against it raises the reward.
    expect((above! - below!) / (2 * h) / norm).toBeCloseTo(1, 2);
  });

  it.each(engineNames.filter((engine) => engine !== 'wasm'))('has the same numbers on %s', async (engineName) => {
    const engine = await startEngine(engineName);
    const actual = await (await trainOnce(name, engine)).compute();
    expectClose(actual.images, expected.images, 1e-3, 'images');
    for (const [path, gradient] of Object.entries(expected.params))
      expectClose(actual.params[path]!, gradient, 1e-3, path);
    engine.dispose();
  });
});

const sumOfSquares = (tensors: Readonly<Record<string, Tensor>>): number =>
  Object.values(tensors).reduce((total, tensor) => total + sum(square(tensor)).dataSync()[0]!, 0);
