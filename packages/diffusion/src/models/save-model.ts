import { flattenTensors } from '@alignprop/autograd-ext';
import { saveSafetensors, writeFileAtomic } from '@alignprop/autograd-ext/weights';
import type { PretrainedModel } from './pretrained-model.js';

const weightsFile = 'diffusion_pytorch_model.safetensors';

/**
 * Writes a diffusers model as its `save_pretrained` does: config.json and one file of weights, those in memory as
 * float32. Each file is there whole or not at all.
 * @param className diffusers' name of the model, which config.json begins with
 * @returns the files' names
 * @throws if the folder cannot be written, or a matrix has an adapter: its parts have no names in a checkpoint
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
