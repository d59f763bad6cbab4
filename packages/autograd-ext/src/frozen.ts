import { keep, tensor, tidy, type Tensor } from '@tensorflow/tfjs-core';
import type { StoredTensor } from './params.js';

// By data id, not by tensor: tfjs hands clones to gradients.
const packed = new WeakMap<object, Map<string, Tensor>>();

/** Declares that a tensor's values never change, so that kernels may keep other layouts of it; see `packedLayout`. */
export function freeze(tensor: Tensor): Tensor {
  if (!packed.has(tensor.dataId)) packed.set(tensor.dataId, new Map());
  return tensor;
}

/** Disposes every layout kept for a frozen tensor. */
export function unfreeze(tensor: Tensor): void {
  packed.get(tensor.dataId)?.forEach((layout) => layout.dispose());
  packed.delete(tensor.dataId);
}

/** Reads a weight from its file into a frozen tensor, which stays until `disposeFrozen`. */
export async function readFrozen(leaf: StoredTensor): Promise<Tensor> {
  const values = await leaf.read();
  return freeze(keep(tensor(values, [...leaf.shape], values instanceof Int32Array ? 'int32' : 'float32')));
}

/** Frees a frozen tensor, and every layout kept for it. */
export function disposeFrozen(weight: Tensor): void {
  unfreeze(weight);
  weight.dispose();
}

/**
 * `pack(tensor)`, computed once for a frozen tensor and kept until `unfreeze`; for any other tensor computed each time.
 */
export function packedLayout(tensor: Tensor, name: string, pack: (tensor: Tensor) => Tensor): Tensor {
  const layouts = packed.get(tensor.dataId);
  if (!layouts) return pack(tensor);
  const known = layouts.get(name);
  if (known) return known;
  const layout = keep(tidy(() => pack(tensor)));
  layouts.set(name, layout);
  return layout;
}
