import { flatten, mapLeaves, type Params } from '@alignprop/autograd-ext';
import type { Tensor } from '@tensorflow/tfjs-core';
import { FusedWeight } from './fuse-lora.js';
import { LoraLinear } from './lora-linear.js';
import { moduleOf } from './modules.js';

/** The adapters of a tree by the path of their module, in tree order; those fused into a weight do not count. */
export function loraModules(params: Params): Record<string, LoraLinear> {
  const adapters = Object.entries(flatten(params)).filter(
    (entry): entry is [string, LoraLinear] => entry[1] instanceof LoraLinear,
  );
  return Object.fromEntries(adapters.map(([path, adapter]) => [moduleOf(path), adapter]));
}

/** A and B of every adapter, trainable or not, as `<module>.lora_A.weight` and `.lora_B.weight`. */
export function loraTensors(params: Params): Record<string, Tensor> {
  return Object.fromEntries(
    Object.entries(loraModules(params)).flatMap(([module, { loraA, loraB }]) => [
      [`${module}.lora_A.weight`, loraA],
      [`${module}.lora_B.weight`, loraB],
    ]),
  );
}

/**
 * The same tree with every adapter's scale multiplied; A and B are shared, the tree given keeps its scale.
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

/** The tree as it was before it was adapted, fused or not. Frees nothing: A and B are the caller's. */
export function removeLora(params: Params): Params {
  return mapLeaves(params, (_, leaf) => {
    if (leaf instanceof FusedWeight) return leaf.adapter.base;
    return leaf instanceof LoraLinear ? leaf.base : leaf;
  });
}
