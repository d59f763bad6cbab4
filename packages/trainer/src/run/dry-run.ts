import { dispose, tensor, tidy, variable, type Variable } from '@tensorflow/tfjs-core';
import {
  disposeTensors,
  DryRunEngine,
  elementCount,
  mapTensors,
  trainable,
  type DryRunOptions,
  type EngineMemory,
  type Params,
} from '@alignprop/autograd-ext';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import type { BlackBoxReward, RewardFunction } from '@alignprop/rewards';
import type { AlignPropConfig } from '../config/config.js';
import { backpropPlan } from '../estimators/config-plan.js';
import { attachProbabilities, drawPlan, type DrawnPlan } from '../estimators/plans.js';
import { evaluator } from '../evaluation/evaluator.js';
import { AlignPropGradient } from '../gradient/alignprop-gradient.js';
import { TensorScope } from '../gradient/tensor-scope.js';
import { samplingOptions } from '../gradient/walk-down.js';
import { preparePipeline } from '../model/prepare-pipeline.js';
import { withDora } from '../model/trainable-pipeline.js';
import { seededGenerators, type Generators } from '../step/generators.js';
import { MicroBatches } from '../step/micro-batch.js';

/** The plan of a run, and the memory it would need. */
export interface DryRun {
  /** The probability for each denoising step, the noisiest first. */
  readonly attachProbabilities: readonly number[];
  /** The most steps that one chain of this run attaches. */
  readonly mostAttached: number;
  /** Images per optimizer step. */
  readonly effectiveBatch: number;
  readonly trainableParameters: number;
  readonly memory: EngineMemory;
  /** Bytes of the trained weights, their gradients, their average, the optimizer's state, and its temporaries. */
  readonly optimizer: number;
}

export interface DryRunInputs<M> {
  config: AlignPropConfig;
  /** Its engine is not used. Whole UNets and DoRA adapters are made trainable here. */
  pipeline: StableDiffusionPipeline;
  rewardFunction: RewardFunction<M>;
  /** Evaluations during the run or after it. */
  evaluation?: {
    prompts: readonly string[];
    promptMetadata?: readonly M[];
    rewardFunction: RewardFunction<M> | BlackBoxReward<M>;
  };
  /** A prompt of the run, and its metadata. */
  prompt?: string;
  promptMetadata?: M;
  engine: Omit<DryRunOptions, 'nameOf'>;
}

/**
 * Simulates two micro-batches with the heaviest plan of the run, and an evaluation, on an engine that runs nothing, and
 * reports their peak memory. Needs tfjs's cpu backend, on which zeros take no memory.
 */
export async function dryRun<M>({
  config,
  pipeline: given,
  rewardFunction,
  evaluation,
  prompt = '',
  promptMetadata,
  engine: options,
}: DryRunInputs<M>): Promise<DryRun> {
  const names = new Map<Params, string>([
    [given.vae.params, 'decoder'],
    [given.textEncoder.params, 'text encoder'],
    [given.unet.params, 'UNet'],
  ]);
  const engine = new DryRunEngine({ ...options, nameOf: (params) => names.get(params) ?? 'reward' });
  const generators = seededGenerators(config.seed);
  const ready = await trainablePipeline(given, config, generators);
  const { pipeline, weights, created } = preparePipeline(ready.with({ engine }), config, generators.adapter);
  names.set(pipeline.unet.params, 'UNet').set(pipeline.textEncoder.params, 'text encoder');
  const heaviest = heaviestPlan(config, generators);
  const batches = new MicroBatches<M>(
    pipeline,
    () => [prompt, promptMetadata as M],
    config,
    backpropPlan(config),
    generators,
  );
  const sampling = samplingOptions(config);
  const gradient = new AlignPropGradient(pipeline, rewardFunction, { ...sampling, klWeight: config.kl_weight });
  try {
    for (let round = 0; round < 2; round++) await simulateMicroBatch(batches, gradient, generators, heaviest);
    if (evaluation) {
      const base = given.with({ engine, scheduler: pipeline.scheduler });
      for (const model of [pipeline, base]) await evaluate(model, config, evaluation);
    }
    const sizes = Object.values(weights.variables).map(({ size }) => size);
    return {
      attachProbabilities: attachProbabilities(backpropPlan(config), config.sample_num_steps),
      mostAttached: attachedSteps(heaviest),
      effectiveBatch: config.train_batch_size * config.train_gradient_accumulation_steps,
      trainableParameters: sizes.reduce((sum, size) => sum + size, 0),
      memory: engine.peak,
      optimizer: optimizerBytes(sizes, config, options.engine === 'tfjs' ? engine.peak.activations : 0),
    };
  } finally {
    batches.dispose();
    dispose([created, ...addedParts(ready, given).map(({ params }) => trainable(params))]);
  }
}

async function simulateMicroBatch<M>(
  batches: MicroBatches<M>,
  gradient: AlignPropGradient<M>,
  { noise }: Generators,
  plan: DrawnPlan,
): Promise<void> {
  const scope = new TensorScope();
  try {
    const texts = batches.drawPrompts(0);
    const embeds = scope.own(await batches.encode(texts));
    const latents = scope.own(batches.drawLatents());
    disposeTensors(await gradient.compute({ ...texts, ...embeds, latents, plan, noise }));
  } finally {
    scope.dispose();
  }
}

async function evaluate<M>(
  pipeline: StableDiffusionPipeline,
  config: AlignPropConfig,
  { prompts, ...others }: NonNullable<DryRunInputs<M>['evaluation']>,
): Promise<void> {
  const evaluateFirst = evaluator(pipeline.engine, { config, prompts: prompts.slice(0, 1), ...others });
  await evaluateFirst(pipeline);
}

/** Returns the plan that attaches the most steps, among the first 1000 that the run draws. */
function heaviestPlan(config: AlignPropConfig, generators: Generators): DrawnPlan {
  const { num_epochs, train_gradient_accumulation_steps: rounds, sample_num_steps } = config;
  const plan = backpropPlan(config);
  const draws = Array.from({ length: Math.min(num_epochs * rounds, 1000) }, () =>
    drawPlan(plan, sample_num_steps, generators.plan),
  );
  return draws.reduce((heaviest, draw) => (attachedSteps(draw) > attachedSteps(heaviest) ? draw : heaviest));
}

const attachedSteps = ({ steps }: DrawnPlan): number => steps.filter(({ attached }) => attached).length;

/** Returns the parts of a pipeline that another one does not have. */
const addedParts = (pipeline: StableDiffusionPipeline, other: StableDiffusionPipeline) =>
  (['unet', 'textEncoder'] as const).flatMap((part) => (pipeline[part] === other[part] ? [] : pipeline[part]));

/** Returns the pipeline with the weights that `preparePipeline` expects in it; those of a whole UNet have no values. */
async function trainablePipeline(
  pipeline: StableDiffusionPipeline,
  config: AlignPropConfig,
  { adapter }: Generators,
): Promise<StableDiffusionPipeline> {
  const { unet } = pipeline;
  if (!config.use_lora) return pipeline.with({ unet: unet.withParams(phantoms(unet.params)) });
  return config.lora_kind === 'dora' ? withDora(pipeline, config, adapter) : pipeline;
}

/** Trainable weights whose values all share one memory. */
function phantoms(params: Params): Params {
  let zeros = new Float32Array(0);
  return mapTensors(params, (_, { shape }): Variable => {
    const size = elementCount(shape);
    if (zeros.length < size) zeros = new Float32Array(size);
    return tidy(() => variable(tensor(zeros.subarray(0, size), [...shape])));
  });
}

/**
 * Bytes of weights, moments, an average, the gradients of two micro-batches, and the optimizer's temporaries: for AdamW
 * 14 float32 results per weight, for 8-bit AdamW the new weights.
 * @param spare memory of activations that is free again when the optimizer runs
 */
function optimizerBytes(
  sizes: readonly number[],
  { train_use_8bit_adam: is8bit, ema_decay }: AlignPropConfig,
  spare: number,
): number {
  const total = 4 * sizes.reduce((sum, size) => sum + size, 0);
  const moments = sizes.reduce(
    (sum, size) => sum + (is8bit && size >= 4096 ? 2 * (size + 4 * Math.ceil(size / 256)) : 8 * size),
    0,
  );
  return moments + total * (3 + (ema_decay > 0 ? 1 : 0)) + Math.max(0, total * (is8bit ? 1 : 14) - spare);
}
