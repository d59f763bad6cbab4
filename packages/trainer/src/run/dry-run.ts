import { dispose, tensor, tidy, variable, type Variable } from '@tensorflow/tfjs-core';
import {
  DryRunEngine,
  mapTensors,
  trainable,
  type DryRunOptions,
  type EngineMemory,
  type Params,
  disposeTensors,
  elementCount,
} from '@alignprop/autograd-ext';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import type { RewardFunction } from '@alignprop/rewards';
import type { AlignPropConfig } from '../config/config.js';
import { backpropPlan } from '../estimators/config-plan.js';
import { evaluator } from '../evaluation/evaluator.js';
import { seededGenerators } from '../step/generators.js';
import { alignPropGradients } from '../gradient/alignprop-gradients.js';
import { MicroBatches } from '../step/micro-batch.js';
import { attachProbabilities, drawPlan, type DrawnPlan } from '../estimators/plans.js';
import { preparePipeline } from '../model/prepare-pipeline.js';
import { samplingOptions } from '../gradient/walk-down.js';

/** What a run would do and take. */
export interface DryRun {
  /** For each denoising step, the noisiest first. */
  readonly attachProbabilities: readonly number[];
  /** The most steps that one chain of this run attaches. */
  readonly mostAttached: number;
  /** Images an optimizer step. */
  readonly effectiveBatch: number;
  readonly trainableParameters: number;
  readonly memory: EngineMemory;
  /**
   * Bytes of the trained weights, what the optimizer remembers of them and needs to move them, their gradients and
   * their average.
   */
  readonly optimizer: number;
}

export interface DryRunInputs<M> {
  config: AlignPropConfig;
  /** Its engine is not used. Whole UNets are made trainable here. */
  pipeline: StableDiffusionPipeline;
  rewardFunction: RewardFunction<M>;
  /** Judged in the course of the run, or after it. */
  evaluation?: { prompts: readonly string[]; rewardFunction: RewardFunction<M> };
  prompt?: string;
  engine: Omit<DryRunOptions, 'nameOf'>;
}

/**
 * Goes through a step of training, and through an evaluation, with an engine that runs nothing, at the draw that
 * attaches most of all that this run would make: what is learned is what they would hold. Needs tfjs's cpu backend, on
 * which zeros take no memory.
 */
export async function dryRun<M>({
  config,
  pipeline: given,
  rewardFunction,
  evaluation,
  prompt = '',
  engine: options,
}: DryRunInputs<M>): Promise<DryRun> {
  const names = new Map<Params, string>([
    [given.vae.params, 'decoder'],
    [given.textEncoder.params, 'text encoder'],
    [given.unet.params, 'UNet'],
  ]);
  const engine = new DryRunEngine({ ...options, nameOf: (params) => names.get(params) ?? 'reward' });
  const generators = seededGenerators(config.seed);
  const whole = config.use_lora ? given : given.with({ unet: given.unet.withParams(phantoms(given.unet.params)) });
  const { pipeline, weights, made } = preparePipeline(whole.with({ engine }), config, generators.adapter);
  names.set(pipeline.unet.params, 'UNet').set(pipeline.textEncoder.params, 'text encoder');
  const plan = backpropPlan(config);
  const batches = new MicroBatches<M>(pipeline, () => [prompt, undefined as M], config, plan, generators);
  const largest = largestOf(
    Array.from({ length: draws(config) }, () => drawPlan(plan, config.sample_num_steps, generators.plan)),
  );
  const gradients = alignPropGradients(pipeline, rewardFunction, {
    ...samplingOptions(config),
    klWeight: config.kl_weight,
  });
  try {
    for (let step = 0; step < 2; step++)
      await batches.draw(0, async (inputs) => disposeTensors(await gradients({ ...inputs, plan: largest })));
    if (evaluation)
      for (const drawn of [pipeline, given.with({ engine, scheduler: pipeline.scheduler })])
        await evaluate(drawn, config, evaluation);
    const sizes = Object.values(weights.variables).map(({ size }) => size);
    return {
      attachProbabilities: attachProbabilities(plan, config.sample_num_steps),
      mostAttached: largest.steps.filter(({ attached }) => attached).length,
      effectiveBatch: config.train_batch_size * config.train_gradient_accumulation_steps,
      trainableParameters: sizes.reduce((sum, size) => sum + size, 0),
      memory: engine.peak,
      optimizer: optimizerBytes(sizes, config, options.engine === 'tfjs' ? engine.peak.activations : 0),
    };
  } finally {
    batches.dispose();
    dispose(config.use_lora ? made : trainable(whole.unet.params));
  }
}

async function evaluate<M>(
  drawn: StableDiffusionPipeline,
  config: AlignPropConfig,
  { prompts, rewardFunction }: NonNullable<DryRunInputs<M>['evaluation']>,
): Promise<void> {
  const { images } = await evaluator(drawn.engine, { config, prompts: prompts.slice(0, 1), rewardFunction })(drawn);
  images.dispose();
}

/** As many as the run makes, short of a very long one. */
const draws = ({ num_epochs, train_gradient_accumulation_steps }: AlignPropConfig): number =>
  Math.min(num_epochs * train_gradient_accumulation_steps, 1000);

/** The one that attaches most steps. */
function largestOf(drawn: readonly DrawnPlan[]): DrawnPlan {
  const attached = ({ steps }: DrawnPlan) => steps.filter((step) => step.attached).length;
  return drawn.reduce((largest, draw) => (attached(draw) > attached(largest) ? draw : largest));
}

/** Trainable weights whose values are all the same memory. */
function phantoms(params: Params): Params {
  let zeros = new Float32Array(0);
  return mapTensors(params, (_, { shape }): Variable => {
    const size = elementCount(shape);
    if (zeros.length < size) zeros = new Float32Array(size);
    return tidy(() => variable(tensor(zeros.subarray(0, size), [...shape])));
  });
}

/**
 * Weights, moments, an average, gradients of two steps, and what AdamW has at once of each when it moves: 14 results in
 * float32, in 8 bits the new weights alone.
 * @param spare memory that is there already when it moves
 */
function optimizerBytes(
  sizes: readonly number[],
  { train_use_8bit_adam: eight, ema_decay }: AlignPropConfig,
  spare: number,
): number {
  const total = 4 * sizes.reduce((sum, size) => sum + size, 0);
  const moments = sizes.reduce(
    (sum, size) => sum + (eight && size >= 4096 ? 2 * (size + 4 * Math.ceil(size / 256)) : 8 * size),
    0,
  );
  return moments + total * (3 + (ema_decay > 0 ? 1 : 0)) + Math.max(0, total * (eight ? 1 : 14) - spare);
}
