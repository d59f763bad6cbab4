import { flatten, mapLeaves, type Leaf, type Params } from '@alignprop/autograd-ext';
import type { Tensor } from '@tensorflow/tfjs-core';
import { LoraLayer } from './lora-layer.js';
import { moduleOf } from './modules.js';
import { ChangedWeight } from './weight-change.js';

/** Returns the adapters of a tree by the path of their module, in tree order, without those that are fused. */
export function loraModules(params: Params): Record<string, LoraLayer> {
  const adapters = Object.entries(flatten(params)).filter(
    (entry): entry is [string, LoraLayer] => entry[1] instanceof LoraLayer,
  );
  return Object.fromEntries(adapters.map(([path, adapter]) => [moduleOf(path), adapter]));
}

/**
 * Returns A and B of every adapter, trainable or not, as `<module>.lora_A.weight` and `<module>.lora_B.weight`, and
 * DoRA's m as `<module>.lora_magnitude_vector`.
 */
export function loraTensors(params: Params): Record<string, Tensor> {
  return Object.fromEntries(
    Object.entries(loraModules(params)).flatMap(([module, adapter]) =>
      Object.entries(adapter.adapterTensors()).map(([name, tensor]) => [`${module}.${name}`, tensor]),
    ),
  );
}

/**
 * Returns the tree with every adapter's scale multiplied by `scale`, the strength of merged kinds (LoHa, …) too.
 * Shares A, B and m with the given tree.
 * @param scale any finite number; 0 switches the adapters off
 * @throws if there is no adapter in the tree
 */
export function scaleLora(params: Params, scale: number): Params {
  if (!Number.isFinite(scale)) throw new Error(`scaleLora: scale got ${scale}, expected a finite number.`);
  if (!Object.values(flatten(params)).some(isScalable))
    throw new Error(
      'scaleLora: the tree has no adapter. Call addLora or applyLora first, and unfuseLora where it is fused.',
    );
  return mapLeaves(params, (_, leaf) => {
    if (leaf instanceof LoraLayer) return leaf.withScale(leaf.scale * scale);
    return leaf instanceof ChangedWeight && isScalable(leaf) ? leaf.withStrength(leaf.strength * scale) : leaf;
  });
}

const isScalable = (leaf: Leaf): boolean =>
  leaf instanceof LoraLayer || (leaf instanceof ChangedWeight && !leaf.adapter);

/** Returns the tree without its adapters, fused or merged ones too. Frees nothing: A, B and m belong to the caller. */
export function removeLora(params: Params): Params {
  return mapLeaves(params, (_, leaf) => {
    let base = leaf;
    while (base instanceof LoraLayer || base instanceof ChangedWeight) base = base.base;
    return base;
  });
}
