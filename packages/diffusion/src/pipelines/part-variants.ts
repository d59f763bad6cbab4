import type { FileSource } from '@alignprop/autograd-ext/weights';
import { classOf, type ModelIndex } from './model-index.js';

const models = ['text_encoder', 'text_encoder_2', 'unet', 'vae'] as const;

/** Returns the variant of the weight files of a part; undefined for files without one. */
export type PartVariants = (part: string) => string | undefined;

/**
 * Finds which models have files of a variant, as diffusers' `DiffusionPipeline.from_pretrained` does: the others are
 * loaded from their plain files.
 * @param onWarning called where some models have the variant and others do not
 * @throws if no part has it
 */
export async function partVariants(
  source: FileSource,
  index: ModelIndex,
  variant: string | undefined,
  onWarning?: (message: string) => void,
): Promise<PartVariants> {
  const having = new Set<string>();
  if (variant !== undefined)
    for (const part of Object.keys(index))
      if (classOf(index, part) && (await hasVariant(source, part, variant))) having.add(part);
  if (variant !== undefined && having.size === 0)
    throw new Error(
      `StableDiffusionPipeline: variant got '${variant}', but no part of '${source.location}' has such files. ` +
        'Leave out the variant, or pass another one.',
    );
  const plain = models.filter((part) => variant !== undefined && classOf(index, part) && !having.has(part));
  if (plain.length)
    onWarning?.(
      `'${source.location}' has no files of variant '${variant}' for ${plain.join(', ')}: ` +
        'the files without a variant are loaded there.',
    );
  return (part) => (having.has(part) ? variant : undefined);
}

/** Whether a folder has a file such as `model.fp16.safetensors` or `model.fp16-00001-of-00002.safetensors`. */
async function hasVariant(source: FileSource, part: string, variant: string): Promise<boolean> {
  return (await source.list(part)).some((file) => file.split('.')[1]?.startsWith(variant));
}
