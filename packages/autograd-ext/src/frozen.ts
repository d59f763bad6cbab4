import { keep, tensor, tidy, type Tensor } from '@tensorflow/tfjs-core';
import { readValues, type StoredTensor } from './params.js';

// Packed layouts by data id and name. Not by tensor: tfjs passes clones, which share the data id, to gradients.
const packed = new WeakMap<object, Map<string, Tensor>>();

/** Declares that a tensor's values never change, so that `packedLayout` caches other layouts of it. */
export function freeze(tensor: Tensor): Tensor {
  if (!packed.has(tensor.dataId)) packed.set(tensor.dataId, new Map());
  return tensor;
}

/** Disposes the cached layouts of a frozen tensor, and caches none from now on. */
export function unfreeze(tensor: Tensor): void {
  packed.get(tensor.dataId)?.forEach((layout) => layout.dispose());
  packed.delete(tensor.dataId);
}

/** Reads a weight from its file into a frozen tensor, which survives tidies. Free it with `disposeFrozen`. */
export async function readFrozen(leaf: StoredTensor): Promise<Tensor> {
  const values = await readValues(leaf);
  return freeze(keep(tensor(values, [...leaf.shape], values instanceof Int32Array ? 'int32' : 'float32')));
}

/** Disposes a frozen tensor and its cached layouts. */
export function disposeFrozen(weight: Tensor): void {
  unfreeze(weight);
  weight.dispose();
}

/**
 * Returns `pack(tensor)`. For a frozen tensor computes it once and caches it under `name` until `unfreeze`; otherwise
 * computes it on every call.
 */
export function packedLayout(tensor: Tensor, name: string, pack: (tensor: Tensor) => Tensor): Tensor {
  const layouts = packed.get(tensor.dataId);
  if (!layouts) return pack(tensor);
  const cached = layouts.get(name);
  if (cached) return cached;
  const layout = keep(tidy(() => pack(tensor)));
  layouts.set(name, layout);
  return layout;
}
