import type { Params } from '@alignprop/autograd-ext';
import { saveSafetensors, writeFileAtomic } from '@alignprop/autograd-ext/weights';
import { adapterTensors, type SaveLoraOptions } from './encode-lora.js';
import type { LoraLayout } from './layouts/lora-layout.js';

/**
 * Writes the adapters of a tree. Files are written completely or not at all, and compute what the tree computes,
 * scale included.
 * - `diffusers-old`, the default: what TRL's AlignPropTrainer writes and every program reads. It does not store α,
 *   and readers take α = r; where an adapter's scale is not 1, B is stored multiplied by it. The images are the same
 *   but the factors are not: to continue training exactly with α ≠ r, choose another format.
 * - `diffusers`: newer keys, with r, α and targets in the header.
 * - `peft`: a folder of adapter_config.json and adapter_model.safetensors.
 * - `kohya`: for A1111 and ComfyUI, with a tensor α for each module; the text encoders of SDXL, recognised by its
 *   second one or its UNet, are `lora_te1_` and `lora_te2_`. Where modules differ in α, all get the most common
 *   one and B is multiplied, since diffusers misreads others.
 *
 * Only the adapters are written. Changes of the weights below them (fused adapters, merged kinds) belong to the model.
 * @param path a file that ends in .safetensors; for `peft` a folder
 * @throws if a tree has no adapter, the path does not suit the format, the format is peft and `others` is not empty, or
 *   the format cannot hold a DoRA adapter: `diffusers-old` none, `peft` and `diffusers` none with lengths of columns or
 *   beside LoRA in the same part
 */
export async function saveLora(path: string, params: Params, options: SaveLoraOptions = {}): Promise<void> {
  const { layout, tensors, components } = await adapterTensors('saveLora', params, options);
  checkPath(path, layout);
  const config = layout.writer.config?.(components[0]);
  const file = config === undefined ? path : `${path}/adapter_model.safetensors`;
  await saveSafetensors(file, tensors, layout.writer.header(tensors, components));
  if (config !== undefined) await writeFileAtomic(`${path}/adapter_config.json`, config);
}

function checkPath(path: string, { name, writer }: LoraLayout): void {
  const isFolder = writer.config !== undefined;
  if (path.endsWith('.safetensors') !== isFolder) return;
  const expected = isFolder ? `a folder for the ${name} format` : 'a file that ends in .safetensors';
  throw new Error(`saveLora: path got '${path}', expected ${expected}.`);
}
