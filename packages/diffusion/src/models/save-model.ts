import { flattenTensors } from '@alignprop/autograd-ext';
import { saveSafetensors, writeFileAtomic } from '@alignprop/autograd-ext/weights';
import type { PretrainedModel } from './pretrained-model.js';

/** The classes of transformers; all others are those of diffusers. */
const isOfTransformers = (className: string): boolean => className.startsWith('CLIP');

/**
 * Writes a model of diffusers, or a text encoder of transformers, as `save_pretrained` does: config.json and a file of
 * weights, in which weights in memory are float32, and those in files keep their format. Writes each file atomically.
 * @param className diffusers' or transformers' name of the model, for config.json
 * @returns the names of the files
 * @throws if the folder cannot be written, or a matrix has an adapter, whose parts a checkpoint has no names for
 */
export async function saveModel(
  folder: string,
  className: string,
  { config, params }: PretrainedModel<object>,
): Promise<readonly string[]> {
  const tensors = flattenTensors(params);
  const adapted = Object.keys(tensors).find((path) => /\.(base_layer|lora_[AB])\.weight$/.test(path));
  if (adapted)
    throw new Error(
      `saveModel: ${className} got an adapter (${adapted}), expected weights alone. Fuse or remove the adapter first.`,
    );
  const weightsFile = isOfTransformers(className) ? 'model.safetensors' : 'diffusion_pytorch_model.safetensors';
  const kind = isOfTransformers(className)
    ? { architectures: [className], model_type: 'clip_text_model' }
    : { _class_name: className };
  const { layout: _, ...fields } = config as { layout?: unknown }; // of the file that was read
  await saveSafetensors(`${folder}/${weightsFile}`, tensors, { format: 'pt' });
  await writeFileAtomic(`${folder}/config.json`, `${JSON.stringify({ ...kind, ...fields }, null, 2)}\n`);
  return [weightsFile, 'config.json'];
}
