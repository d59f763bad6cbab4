import { excerptList } from '@alignprop/autograd-ext/outside';
import type { StoredTensor } from '@alignprop/autograd-ext';

/** The weights of a checkpoint, by key. */
export type Weights = ReadonlyMap<string, StoredTensor>;

/** The kinds of checkpoints in the layout of the original scripts. */
export type CheckpointKind = 'Stable Diffusion 1.x' | 'Stable Diffusion 2.x' | 'SDXL';

export const unetPrefix = 'model.diffusion_model.';

/** Other kinds of model, by the keys that only their files have. */
const others: readonly (readonly [pattern: RegExp, what: string])[] = [
  [/^conditioner\.embedders\.0\.model\./, 'the refiner of SDXL'],
  [/(^|\.)joint_blocks\./, 'a checkpoint of Stable Diffusion 3'],
  [/(^|\.)double_blocks\./, 'a checkpoint of Flux or a model of its kind'],
  [/^control_model\.|^controlnet_cond_embedding\./, 'a ControlNet'],
  [/lora_(up|down|A|B)\b|^lora_/, 'an adapter, which goes on a model'],
  [/^(down_blocks|up_blocks|mid_block)\./, 'a UNet of diffusers alone; pass the folder of its pipeline'],
  [/^(encoder|decoder)\.(conv_in|down|up|mid)\b/, 'a VAE alone'],
];

/**
 * Recognises a checkpoint in a single file by its keys.
 * @throws if it is another kind of file; says which
 */
export function checkpointKind(weights: Weights, location: string): CheckpointKind {
  const keys = [...weights.keys()];
  const hasKey = (prefix: string) => keys.some((key) => key.startsWith(prefix));
  const hasUNet = hasKey(unetPrefix);
  if (hasUNet && hasKey('conditioner.embedders.1.model.')) return 'SDXL';
  if (hasUNet && hasKey('cond_stage_model.model.')) return 'Stable Diffusion 2.x';
  if (hasUNet && hasKey('cond_stage_model.transformer.')) return 'Stable Diffusion 1.x';
  const [, what] = others.find(([pattern]) => keys.some((key) => pattern.test(key))) ?? [];
  const example = excerptList(keys, 3) || 'no weights';
  throw new Error(
    `StableDiffusionPipeline.fromSingleFile: '${location}' got ${what ?? `keys such as ${example}`}, expected a ` +
      'whole checkpoint of Stable Diffusion 1.x, 2.x or XL: UNet, VAE and text encoder in one file. ' +
      `${hasUNet ? 'A part is missing: the text encoder. ' : ''}Check which file it is.`,
  );
}
