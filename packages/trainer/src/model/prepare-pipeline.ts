import { tensor, tidy, variable, type Variable } from '@tensorflow/tfjs-core';
import {
  flattenTensors,
  mapTensors,
  trainable,
  type Params,
  type TorchGenerator,
  readValues,
} from '@alignprop/autograd-ext';
import { DDIMScheduler, type StableDiffusionPipeline } from '@alignprop/diffusion';
import { addLora, loraTensors } from '@alignprop/lora';
import type { AlignPropConfig } from '../config/config.js';
import { prefixed, trainedWeights, type TrainedWeights } from './trained-weights.js';

/** A pipeline that is ready for training, and its trainable weights. */
export interface PreparedPipeline {
  readonly pipeline: StableDiffusionPipeline;
  readonly weights: TrainedWeights;
  /** The variables that were created for it, by parameter path; those of the given pipeline are not among them. */
  readonly created: Readonly<Record<string, Variable>>;
}

type PreparationConfig = Pick<
  AlignPropConfig,
  'use_lora' | 'train_text_encoder' | 'lora_rank' | 'lora_alpha' | 'lora_target_modules' | 'lora_init'
>;

/** The modules of a text encoder that diffusers adapts. */
const textTargets = ['q_proj', 'k_proj', 'v_proj', 'out_proj'];

/**
 * Adds a new adapter to the UNet unless it has a trainable one, likewise to the text encoder with `train_text_encoder`,
 * and replaces the scheduler by DDIM with the same noise schedule, as TRL does. With `use_lora` false the UNet stays as
 * it is.
 * @throws if the trainable weights of the pipeline are not those that the configuration trains
 */
export function preparePipeline(
  pipeline: StableDiffusionPipeline,
  config: PreparationConfig,
  generator: TorchGenerator,
): PreparedPipeline {
  const { unet, textEncoder, scheduler } = pipeline;
  if (!config.use_lora) checkWholeUNet(unet.params);
  const adapted = config.use_lora ? adapt(unet.params, config, config.lora_target_modules, generator) : unet.params;
  const text = config.train_text_encoder
    ? adapt(textEncoder.params, config, textTargets, generator)
    : textEncoder.params;
  if (config.use_lora) checkAdapter('UNet', adapted);
  if (config.train_text_encoder) checkAdapter('text encoder', text);
  else checkFrozen(text);
  const ready = pipeline.with({
    unet: unet.withParams(adapted),
    textEncoder: textEncoder.withParams(text),
    scheduler: DDIMScheduler.fromConfig(scheduler.config),
  });
  const created = {
    ...(adapted !== unet.params && trainable(adapted)),
    ...(text !== textEncoder.params && prefixed(trainable(text))),
  };
  return { pipeline: ready, weights: trainedWeights(ready, config.use_lora), created };
}

/**
 * Copies a pipeline, with every weight of its UNet as a variable in memory, for `use_lora: false`. The variables belong
 * to the caller: `dispose(trainable(pipeline.unet.params))` frees them.
 */
export async function trainableUNet(pipeline: StableDiffusionPipeline): Promise<StableDiffusionPipeline> {
  const { unet } = pipeline;
  const variables: Record<string, Variable> = {};
  for (const [path, leaf] of Object.entries(flattenTensors(unet.params))) {
    const values = await readValues(leaf);
    tidy(() => void (variables[path] = variable(tensor(values, [...leaf.shape], 'float32'))));
  }
  return pipeline.with({ unet: unet.withParams(mapTensors(unet.params, (path) => variables[path]!)) });
}

function adapt(
  params: Params,
  config: PreparationConfig,
  targetModules: readonly string[],
  generator: TorchGenerator,
): Params {
  if (Object.keys(trainable(params)).length > 0) return params;
  const { lora_rank: r, lora_alpha: loraAlpha, lora_init: initLoraWeights } = config;
  return addLora(params, { r, loraAlpha, targetModules, initLoraWeights }, generator);
}

function checkAdapter(model: string, params: Params): void {
  const adapter = new Set(Object.values(loraTensors(params)));
  const others = Object.entries(trainable(params)).filter(([, value]) => !adapter.has(value));
  if (others.length === 0) return;
  throw new Error(
    `AlignPropTrainer: ${others.length} trainable weights of the ${model} are no part of a LoRA adapter ` +
      `(${others[0]![0]}, …). Freeze them, or set use_lora to false to train the whole UNet.`,
  );
}

function checkWholeUNet(params: Params): void {
  if (Object.keys(loraTensors(params)).length > 0)
    throw new Error(
      'AlignPropTrainer: use_lora is false, but the UNet has an adapter. Fuse or remove it first, or set use_lora.',
    );
  if (Object.keys(trainable(params)).length > 0) return;
  throw new Error(
    'AlignPropTrainer: use_lora is false, but no weight of the UNet is trainable. ' +
      'Pass `await trainableUNet(pipeline)` as the pipeline.',
  );
}

function checkFrozen(params: Params): void {
  const [path] = Object.keys(trainable(params));
  if (path)
    throw new Error(
      `AlignPropTrainer: the text encoder has trainable weights (${path}, …), which nothing would train. ` +
        'Set train_text_encoder.',
    );
}
