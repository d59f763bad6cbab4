import { flattenTensors } from '@alignprop/autograd-ext';
import { saveSafetensors, writeFileAtomic } from '@alignprop/autograd-ext/weights';
import type { PretrainedModel } from './pretrained-model.js';

const weightsFile = 'diffusion_pytorch_model.safetensors';

/**
 * Writes a diffusers model as `save_pretrained` does: config.json and one file of weights, in which weights in memory
 * are float32. Writes each file atomically.
 * @param className diffusers' name of the model, the first entry of config.json
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
  await saveSafetensors(`${folder}/${weightsFile}`, tensors, { format: 'pt' });
  await writeFileAtomic(`${folder}/config.json`, `${JSON.stringify({ _class_name: className, ...config }, null, 2)}\n`);
  return [weightsFile, 'config.json'];
}
