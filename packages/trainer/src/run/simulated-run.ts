import { dispose, tensor, tidy, variable, type Variable } from '@tensorflow/tfjs-core';
import {
  DryRunEngine,
  elementCount,
  mapTensors,
  trainable,
  type DryRunOptions,
  type EngineMemory,
  type Params,
} from '@alignprop/autograd-ext';
import type { Decoder, StableDiffusionPipeline } from '@alignprop/diffusion';
import type { BlackBoxReward, RewardFunction } from '@alignprop/rewards';
import type { AlignPropConfig } from '../config/config.js';
import { evaluator, type EvaluatorConfig } from '../evaluation/evaluator.js';
import { preparePipeline } from '../model/prepare-pipeline.js';
import { withDora } from '../model/trainable-pipeline.js';
import { seededGenerators, type Generators } from '../step/generators.js';

/** The memory that a run would need. */
export interface SimulatedMemory {
  readonly trainableParameters: number;
  readonly memory: EngineMemory;
  /** Bytes of the trained weights, their gradients, their average, the optimizer's state, and its temporaries. */
  readonly optimizer: number;
}

type SimulationConfig = Parameters<typeof preparePipeline>[1] &
  EvaluatorConfig &
  Pick<AlignPropConfig, 'train_use_8bit_adam' | 'ema_decay'>;

export interface SimulationInputs<M> {
  config: SimulationConfig;
  /** Its engine is not used. Whole UNets and DoRA adapters are made trainable here. */
  pipeline: StableDiffusionPipeline;
  /** Evaluations during the run or after it. */
  evaluation?: {
    prompts: readonly string[];
    promptMetadata?: readonly M[];
    rewardFunction: RewardFunction<M> | BlackBoxReward<M>;
  };
  /** As `AlignPropTrainerOptions.rewardDecoder`. */
  rewardDecoder?: Decoder;
  engine: Omit<DryRunOptions, 'nameOf'>;
}

/** The inputs of a step, on an engine that runs nothing. */
export interface SimulatedModel {
  readonly pipeline: StableDiffusionPipeline;
  readonly generators: Generators;
}

/**
 * Runs steps and an evaluation on an engine that runs nothing, and reports their peak memory. Needs tfjs's cpu backend,
 * on which zeros take no memory.
 */
export async function simulateRun<M>(
  { config, pipeline: given, evaluation, rewardDecoder, engine: options }: SimulationInputs<M>,
  steps: (model: SimulatedModel) => Promise<void>,
): Promise<SimulatedMemory> {
  const names = new Map<Params, string>([[given.vae.params, 'decoder'], ...namedModels(given)]);
  if (rewardDecoder) names.set(rewardDecoder.params, 'reward decoder');
  const engine = new DryRunEngine({ ...options, nameOf: (params) => names.get(params) ?? 'reward' });
  const generators = seededGenerators(config.seed);
  const ready = await trainablePipeline(given, config, generators);
  const { pipeline, weights, created } = preparePipeline(ready.with({ engine }), config, generators.adapter);
  for (const [params, name] of namedModels(pipeline)) names.set(params, name);
  try {
    await steps({ pipeline, generators });
    if (evaluation) {
      const base = given.with({ engine, scheduler: pipeline.scheduler });
      for (const model of [pipeline, base]) await evaluate(model, config, evaluation);
    }
    const sizes = Object.values(weights.variables).map(({ size }) => size);
    return {
      trainableParameters: sizes.reduce((sum, size) => sum + size, 0),
      memory: engine.peak,
      optimizer: optimizerBytes(sizes, config, options.engine === 'tfjs' ? engine.peak.activations : 0),
    };
  } finally {
    dispose([created, ...addedParams(ready, given).map((params) => trainable(params))]);
  }
}

async function evaluate<M>(
  pipeline: StableDiffusionPipeline,
  config: SimulationConfig,
  { prompts, ...others }: NonNullable<SimulationInputs<M>['evaluation']>,
): Promise<void> {
  const evaluateFirst = evaluator(pipeline.engine, { config, prompts: prompts.slice(0, 1), ...others });
  await evaluateFirst(pipeline);
}

/** The weights of the UNet and the text encoders, and their names in the report. */
const namedModels = ({ params }: StableDiffusionPipeline): [Params, string][] =>
  Object.entries(params).map(([name, tree]) => [tree, name === 'unet' ? 'UNet' : 'text encoder']);

/** Returns the weights of a pipeline's models that another one does not have. */
function addedParams({ params }: StableDiffusionPipeline, other: StableDiffusionPipeline): Params[] {
  const given = new Set<Params>(Object.values(other.params));
  return Object.values(params).filter((tree) => !given.has(tree));
}

/** Returns the pipeline with the weights that `preparePipeline` expects in it; those of a whole UNet have no values. */
async function trainablePipeline(
  pipeline: StableDiffusionPipeline,
  config: SimulationConfig,
  { adapter }: Generators,
): Promise<StableDiffusionPipeline> {
  if (!config.use_lora) return pipeline.withParams({ unet: phantoms(pipeline.params.unet) });
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
  { train_use_8bit_adam: is8bit, ema_decay }: SimulationConfig,
  spare: number,
): number {
  const total = 4 * sizes.reduce((sum, size) => sum + size, 0);
  const moments = sizes.reduce(
    (sum, size) => sum + (is8bit && size >= 4096 ? 2 * (size + 4 * Math.ceil(size / 256)) : 8 * size),
    0,
  );
  return moments + total * (3 + (ema_decay > 0 ? 1 : 0)) + Math.max(0, total * (is8bit ? 1 : 14) - spare);
}
