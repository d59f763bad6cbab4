import { flatten, mapLeaves, type Params } from '@alignprop/autograd-ext';
import type { Tensor } from '@tensorflow/tfjs-core';
import { FusedWeight } from './fuse-lora.js';
import { LoraLinear } from './lora-linear.js';
import { moduleOf } from './modules.js';

/** Returns the adapters of a tree by the path of their module, in tree order, without those that are fused. */
export function loraModules(params: Params): Record<string, LoraLinear> {
  const adapters = Object.entries(flatten(params)).filter(
    (entry): entry is [string, LoraLinear] => entry[1] instanceof LoraLinear,
  );
  return Object.fromEntries(adapters.map(([path, adapter]) => [moduleOf(path), adapter]));
}

/** Returns A and B of every adapter, trainable or not, as `<module>.lora_A.weight` and `<module>.lora_B.weight`. */
export function loraTensors(params: Params): Record<string, Tensor> {
  return Object.fromEntries(
    Object.entries(loraModules(params)).flatMap(([module, { loraA, loraB }]) => [
      [`${module}.lora_A.weight`, loraA],
      [`${module}.lora_B.weight`, loraB],
    ]),
  );
}

/**
 * Returns the tree with every adapter's scale multiplied by `scale`. Shares A and B with the given tree.
 * @param scale any finite number; 0 switches the adapters off
 * @throws if there is no adapter in the tree
 */
export function scaleLora(params: Params, scale: number): Params {
  if (!Number.isFinite(scale)) throw new Error(`scaleLora: scale got ${scale}, expected a finite number.`);
  if (Object.keys(loraModules(params)).length === 0)
    throw new Error(
      'scaleLora: the tree has no adapter. Call addLora or applyLora first, and unfuseLora where it is fused.',
    );
  return mapLeaves(params, (_, leaf) => (leaf instanceof LoraLinear ? leaf.withScale(leaf.scale * scale) : leaf));
}

/** Returns the tree without its adapters, fused or not. Frees nothing: A and B belong to the caller. */
export function removeLora(params: Params): Params {
  return mapLeaves(params, (_, leaf) => {
    if (leaf instanceof FusedWeight) return leaf.adapter.base;
    return leaf instanceof LoraLinear ? leaf.base : leaf;
  });
}
