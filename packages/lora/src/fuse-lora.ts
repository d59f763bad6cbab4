import { flatten, mapLeaves, type Params } from '@alignprop/autograd-ext';
import { LoraLayer } from './lora-layer.js';
import { lowRankChange } from './low-rank-change.js';
import { ChangedWeight } from './weight-change.js';

/**
 * Folds every adapter into its weight: W + scale·(α/r)·B·A, with DoRA m·V/|V|. The model then runs as fast as without
 * adapters. Copies A, B and m now; reads W and computes the sum when an engine reads the weight (`StoredTensor.read`).
 * Nothing has to be freed, and weights in files stay there.
 * @param options.scale multiplies the adapters' own scale; any finite number
 * @throws if there is no adapter in the tree
 */
export async function fuseLora(params: Params, { scale = 1 }: { scale?: number } = {}): Promise<Params> {
  if (!Number.isFinite(scale)) throw new Error(`fuseLora: scale got ${scale}, expected a finite number.`);
  const fused = new Map<string, ChangedWeight>();
  for (const [path, leaf] of Object.entries(flatten(params)))
    if (leaf instanceof LoraLayer)
      fused.set(path, new ChangedWeight(leaf.base, await lowRankChange(leaf), scale, leaf));
  if (fused.size === 0) throw new Error('fuseLora: the tree has no adapter. Call addLora or applyLora first.');
  return mapLeaves(params, (path, leaf) => fused.get(path) ?? leaf);
}

/**
 * Puts back the adapters that `fuseLora` folded in. They are the same objects: nothing is subtracted, so nothing is
 * rounded.
 * @throws if nothing in the tree was fused
 */
export function unfuseLora(params: Params): Params {
  if (!Object.values(flatten(params)).some((leaf) => leaf instanceof ChangedWeight && leaf.adapter))
    throw new Error('unfuseLora: the tree has no fused adapter. Call fuseLora first.');
  return mapLeaves(params, (_, leaf) => (leaf instanceof ChangedWeight ? (leaf.adapter ?? leaf) : leaf));
}
