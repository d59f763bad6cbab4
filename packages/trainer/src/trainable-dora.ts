import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import { parseAlignPropConfig, type AlignPropConfigInput } from './config/config.js';
import type { DDPOConfigInput } from './ddpo/ddpo-config.js';
import { withDora } from './model/trainable-pipeline.js';
import { seededGenerators } from './step/generators.js';

/**
 * Copies a pipeline, with a new DoRA adapter on its UNet, for `lora_kind: 'dora'`; with `train_text_encoder` on its
 * text encoder too. Reads the adapted weights: m starts as the lengths of their rows. A part that has trainable weights
 * stays as it is. The new variables belong to the caller: `dispose(trainable(pipeline.unet.params))` frees the UNet's.
 * @param config that of the trainer, which checks it; `seed`, `train_text_encoder` and the options of the adapter count
 * @throws as `addDora`, or if an option that counts is out of range; nothing stays allocated then
 */
export function trainableDora(
  pipeline: StableDiffusionPipeline,
  config: AlignPropConfigInput | DDPOConfigInput = {},
): Promise<StableDiffusionPipeline> {
  const counts = /^(seed|train_text_encoder|trainTextEncoder|lora[_A-Z].*)$/;
  const options = Object.entries(config).filter(([name]) => counts.test(name));
  const parsed = parseAlignPropConfig(Object.fromEntries(options));
  return withDora(pipeline, parsed, seededGenerators(parsed.seed).adapter);
}
