import { dispose, gather, mean, mul, reshape, squeeze, tidy, type Tensor, type Variable } from '@tensorflow/tfjs-core';
import { mapLeaves, trainable, type Engine, type Params } from '@alignprop/autograd-ext';
import { DDIMScheduler, StableDiffusionPipeline } from '@alignprop/diffusion';
import { applyLora, LoraLayer, type LowRankAdapter } from '@alignprop/lora';
import type { RewardFunction } from '@alignprop/rewards';
import { beforeAll, describe, expect, it } from 'vitest';
import { engineNames, startEngine } from '../../../../fixtures/engines.js';
import { expectClose, fixtureJson, fixturePath, fixtureTensors, toNCHW, toNHWC } from '../../../../fixtures/index.js';
import { attachedStep, detachedStep } from '../estimators/plans.js';
import { AlignPropGradient } from '../gradient/alignprop-gradient.js';
import type { Trajectory } from '../gradient/walk-up.js';
import { AdamW } from '../optim/adamw.js';
import { clipByGlobalNorm } from '../optim/clip-by-global-norm.js';
import { globalNorm, type Gradients } from '../optim/gradients.js';

type Golden = Record<string, Tensor>;

interface GoldenCase {
  modules: string[];
  scaling: number;
  prompts: string[];
  negative_prompt: string;
  steps: number;
  eta: number;
  cfg: number;
  attached_steps: number[];
  grad_norm: number;
}

const { cases } = fixtureJson<{ cases: Record<'conv-lora' | 'dora', GoldenCase> }>('lora-train/case.json');
const options = { learningRate: 1e-3, beta1: 0.9, beta2: 0.999, weightDecay: 1e-4, epsilon: 1e-8 };
const rowOf = (x: Tensor, i: number): Tensor => tidy(() => reshape(gather(x, [i]), x.shape.slice(1)));

/** The tensors whose names begin with `prefix`, by the rest of their names. m is [out], as in our layers. */
const group = (io: Golden, prefix: string): Golden =>
  Object.fromEntries(
    Object.entries(io).flatMap(([name, value]) => {
      if (!name.startsWith(`${prefix}.`)) return [];
      return [[name.slice(prefix.length + 1), name.endsWith('magnitude_vector') ? squeeze(value) : value]];
    }),
  );

/** sd15-tiny with the adapter of the golden, the scheduler of TRL, and its variables. */
async function goldenPipeline(
  engine: Engine,
  { modules, scaling }: GoldenCase,
  io: Golden,
  { exactGradient = false }: { exactGradient?: boolean } = {},
): Promise<StableDiffusionPipeline> {
  const pipeline = await StableDiffusionPipeline.fromPretrained(fixturePath('sd15-tiny/model'), { engine });
  const adapters = modules.map((module): [string, LowRankAdapter] => {
    const [a, b] = [io[`init.${module}.lora_A.weight`]!, io[`init.${module}.lora_B.weight`]!];
    const vector = io[`init.${module}.lora_magnitude_vector`];
    const factors = { a, b, alpha: scaling * a.shape[0]! };
    return [
      module,
      vector ? { kind: 'dora', ...factors, magnitude: { vector, axis: 'output' } } : { kind: 'lora', ...factors },
    ];
  });
  const applied = await applyLora(pipeline.unet.params, { modules: Object.fromEntries(adapters) }, { trainable: true });
  const unet = pipeline.unet.withParams(exactGradient ? withExactGradient(applied) : applied);
  return pipeline.with({ unet, scheduler: DDIMScheduler.fromConfig(pipeline.scheduler.config) });
}

const withExactGradient = (params: Params): Params =>
  mapLeaves(params, (_, leaf) =>
    leaf instanceof LoraLayer && leaf.dora
      ? new LoraLayer({ ...leaf, dora: { ...leaf.dora, exactGradient: true } })
      : leaf,
  );

/**
 * The gradients of one micro-batch. The image is decoded from the golden's x_0, with which ours is compared: some
 * pixels lie so close to the clamp at 0 and 1 that the rounding of x_0 decides whether they have a gradient.
 */
async function gradientsOf(
  pipeline: StableDiffusionPipeline,
  { prompts, negative_prompt: negative, steps, attached_steps: attached, cfg, eta }: GoldenCase,
  io: Golden,
): Promise<{ params: Gradients; rewards: Tensor; trajectory: Trajectory }> {
  const pattern = toNHWC(io.pattern!);
  const reward: RewardFunction = (images) => mul(mean(mul(images, pattern), [1, 2, 3]), 400);
  const sampling = { numInferenceSteps: steps, guidanceScale: cfg, eta };
  const microBatch = new AlignPropGradient(pipeline, reward, sampling).begin({
    latents: toNHWC(io.initial_latents!),
    noise: ({ index }) => toNHWC(rowOf(io.noise!, index)),
    promptEmbeds: (await pipeline.encodePrompt(prompts)).promptEmbeds,
    negativePromptEmbeds: (await pipeline.encodePrompt(prompts.map(() => negative))).promptEmbeds,
    plan: {
      steps: Array.from({ length: steps }, (_, i) => (attached.includes(i) ? attachedStep : detachedStep)),
      shown: 'x_0',
      renoised: 0,
    },
    prompts,
    promptMetadata: [],
  });
  const trajectory = await microBatch.walkDown();
  const judged = await microBatch.judge({ ...trajectory, latents: [toNHWC(io.x0!)] });
  const { params } = await microBatch.walkUp(trajectory, judged);
  microBatch.dispose();
  return { params, rewards: judged.rewards, trajectory };
}

const largest = (x: Tensor) => x.dataSync<'float32'>().reduce((most, value) => Math.max(most, Math.abs(value)), 0);

/**
 * Attention over a single position has weight 1 whatever q and k are, here in the middle of the UNet: the gradients of
 * q are zero, and have to be below one rounding of the largest gradient.
 */
function checkGradients(actual: Gradients, expected: Golden): void {
  const rounding = 2 ** -23 * Math.max(...Object.values(expected).map(largest));
  for (const [path, gradient] of Object.entries(expected)) {
    if (/^mid_block\..*\.attn1\.to_q\./.test(path)) expect(largest(actual[path]!), path).toBeLessThan(rounding);
    else expectClose(actual[path]!, gradient, 1e-3, `gradient of ${path}`);
  }
}

/** Checks all values after one step of AdamW whose clipped gradient is not close to zero. */
function checkParameters(variables: Readonly<Record<string, Variable>>, expected: Golden, gradients: Golden): void {
  let checked = 0;
  for (const [path, wanted] of Object.entries(expected)) {
    const [values, wantedValues, gradient] = [variables[path]!, wanted, gradients[path]!].map((x) => x.dataSync());
    values!.forEach((value, i) => {
      if (Math.abs(gradient![i]!) <= 1e-6) return;
      checked++;
      expect(Math.abs(value - wantedValues![i]!), `${path}[${i}]`).toBeLessThanOrEqual(2e-5);
    });
  }
  expect(checked).toBeGreaterThan(1000);
}

describe.each(engineNames)('One AlignProp step on %s', (engineName) => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await startEngine(engineName);
  });

  it.each(['conv-lora', 'dora'] as const)("of %s has peft's gradients and parameters", async (name) => {
    const io = await fixtureTensors(`lora-train/${name}.safetensors`);
    const pipeline = await goldenPipeline(engine, cases[name], io);
    const { params, rewards, trajectory } = await gradientsOf(pipeline, cases[name], io);
    expect(trajectory.steps.map(({ t }) => t)).toEqual([...io.timesteps!.dataSync()]);
    expectClose(toNCHW(trajectory.latents.at(-1)!), io.x0!, 1e-3, 'x_0');
    rewards
      .dataSync()
      .forEach((reward, i) =>
        expect(Math.abs(reward - io.rewards!.dataSync()[i]!)).toBeLessThanOrEqual(1e-4 * Math.max(1, Math.abs(reward))),
      );
    const expected = group(io, 'grad');
    expect(Object.keys(params).sort()).toEqual(Object.keys(expected).sort());
    checkGradients(params, expected);
    const norm = globalNorm(params);
    expect(norm.dataSync()[0]).toBeCloseTo(cases[name].grad_norm, 4);
    const variables = trainable(pipeline.unet.params);
    const optimizer = new AdamW(variables, options);
    optimizer.step(clipByGlobalNorm(params, norm, 1));
    checkParameters(variables, group(io, 'param_after_1'), expected);
    pipeline.dispose();
    optimizer.dispose();
    dispose([io, variables]);
  });

  it('of DoRA differentiates the lengths of V where exactGradient asks for it', async () => {
    const io = await fixtureTensors('lora-train/dora.safetensors');
    const pipeline = await goldenPipeline(engine, cases.dora, io, { exactGradient: true });
    const { params } = await gradientsOf(pipeline, cases.dora, io);
    const expected = group(io, 'grad_exact');
    expect(Object.keys(expected)).toHaveLength(12);
    checkGradients(params, expected);
    pipeline.dispose();
    dispose([io, trainable(pipeline.unet.params)]);
  });
});
