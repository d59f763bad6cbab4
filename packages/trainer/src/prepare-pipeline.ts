import type { Variable } from '@tensorflow/tfjs-core';
import { trainable, type TorchGenerator } from '@alignprop/autograd-ext';
import { DDIMScheduler, type StableDiffusionPipeline } from '@alignprop/diffusion';
import { addLora, loraTensors } from '@alignprop/lora';
import type { AlignPropConfig } from './config.js';

/** A pipeline made ready for training, and what is trained in it. */
export interface Prepared {
  readonly pipeline: StableDiffusionPipeline;
  /** By parameter path. */
  readonly variables: Readonly<Record<string, Variable>>;
  /** Whether the adapter was made here, rather than being part of the pipeline given. */
  readonly adapterIsNew: boolean;
}

/**
 * Gives the UNet a new adapter unless it has a trainable one, and the pipeline a DDIM scheduler with its noise schedule, as TRL does.
 * @throws if something else than an adapter is trainable, or there is an adapter that is not
 */
export function preparePipeline(pipeline: StableDiffusionPipeline, config: AlignPropConfig, generator: TorchGenerator): Prepared {
  const { unet, scheduler } = pipeline;
  const adapterIsNew = Object.keys(trainable(unet.params)).length === 0;
  const params = adapterIsNew ? addLora(unet.params, loraConfig(config), generator) : unet.params;
  const variables = trainable(params);
  const adapter = new Set(Object.values(loraTensors(params)));
  const others = Object.entries(variables).filter(([, variable]) => !adapter.has(variable));
  if (others.length > 0) {
    throw new Error(`AlignPropTrainer: ${others.length} trainable weights are no part of a LoRA adapter (${others[0]![0]}, …). Only adapters can be trained; freeze the others.`);
  }
  const ddim = scheduler instanceof DDIMScheduler ? scheduler : DDIMScheduler.fromConfig(scheduler.config);
  return { pipeline: pipeline.with({ unet: unet.withParams(params), scheduler: ddim }), variables, adapterIsNew };
}

const loraConfig = ({ lora_rank, lora_alpha, lora_target_modules, lora_init }: AlignPropConfig) => ({
  r: lora_rank,
  loraAlpha: lora_alpha,
  targetModules: lora_target_modules,
  initLoraWeights: lora_init,
});
