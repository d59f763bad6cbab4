import { dispose, tensor, tidy, variable, type Variable } from '@tensorflow/tfjs-core';
import {
  flattenTensors,
  mapTensors,
  readValues,
  trainable,
  type Params,
  type TorchGenerator,
} from '@alignprop/autograd-ext';
import { record } from '@alignprop/autograd-ext/outside';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import { addDora } from '@alignprop/lora';
import type { AlignPropConfig } from '../config/config.js';
import { adapterConfig, textTargets, type AdapterOptions } from './adapter-config.js';

/**
 * Copies a pipeline, with every weight of its UNet as a variable in memory, for `use_lora: false`. The variables belong
 * to the caller: `dispose(trainable(pipeline.unet.params))` frees them.
 */
export async function trainableUNet(pipeline: StableDiffusionPipeline): Promise<StableDiffusionPipeline> {
  const { unet } = pipeline;
  const variables = record<Variable>();
  for (const [path, leaf] of Object.entries(flattenTensors(unet.params))) {
    const values = await readValues(leaf);
    tidy(() => void (variables[path] = variable(tensor(values, [...leaf.shape], 'float32'))));
  }
  return pipeline.with({ unet: unet.withParams(mapTensors(unet.params, (path) => variables[path]!)) });
}

/**
 * Copies a pipeline, with a new DoRA adapter on its UNet, and with `train_text_encoder` on its text encoders. A part
 * that has trainable weights stays as it is. The new variables belong to the caller.
 * @throws as `addDora`; nothing stays allocated then
 */
export async function withDora(
  pipeline: StableDiffusionPipeline,
  config: AdapterOptions & Pick<AlignPropConfig, 'train_text_encoder' | 'lora_target_modules'>,
  generator: TorchGenerator,
): Promise<StableDiffusionPipeline> {
  const { unet, ...texts } = pipeline.params;
  const parts: [string, Params][] = Object.entries({ unet, ...(config.train_text_encoder && texts) });
  const adapted = record<Params>();
  try {
    for (const [name, params] of parts) {
      if (Object.keys(trainable(params)).length > 0) continue;
      const targets = name === 'unet' ? config.lora_target_modules : textTargets;
      adapted[name] = await addDora(params, adapterConfig(config, targets), generator);
    }
    return pipeline.withParams(adapted);
  } catch (error) {
    for (const params of Object.values(adapted)) dispose(trainable(params));
    throw error;
  }
}
