import { flatten, mapLeaves, readValues, type Params, type StoredTensor } from '@alignprop/autograd-ext';
import { LoraLinear } from './lora-linear.js';

/**
 * Folds every adapter into its matrix: W + scale·(α/r)·B·A. The model then runs as fast as without adapters. Copies A
 * and B now; reads W and computes the sum when an engine reads the weight (`StoredTensor.read`). Nothing has to be
 * freed, and weights in files stay there.
 * @param options.scale multiplies the adapters' own scale; any finite number
 * @throws if there is no adapter in the tree
 */
export async function fuseLora(params: Params, { scale = 1 }: { scale?: number } = {}): Promise<Params> {
  if (!Number.isFinite(scale)) throw new Error(`fuseLora: scale got ${scale}, expected a finite number.`);
  const fused = new Map<string, FusedWeight>();
  for (const [path, leaf] of Object.entries(flatten(params)))
    if (leaf instanceof LoraLinear) fused.set(path, await FusedWeight.of(leaf, scale));
  if (fused.size === 0) throw new Error('fuseLora: the tree has no adapter. Call addLora or applyLora first.');
  return mapLeaves(params, (path, leaf) => fused.get(path) ?? leaf);
}

/**
 * Puts back the adapters that `fuseLora` folded in. They are the same objects: nothing is subtracted, so nothing is
 * rounded.
 * @throws if nothing in the tree was fused
 */
export function unfuseLora(params: Params): Params {
  if (!Object.values(flatten(params)).some((leaf) => leaf instanceof FusedWeight))
    throw new Error('unfuseLora: the tree has no fused adapter. Call fuseLora first.');
  return mapLeaves(params, (_, leaf) => (leaf instanceof FusedWeight ? leaf.adapter : leaf));
}

/** W + scale·B·A, computed at every read. */
export class FusedWeight implements StoredTensor {
  readonly dtype = 'F32';

  private constructor(
    readonly adapter: LoraLinear,
    private readonly a: Float32Array, // [r, in]
    private readonly b: Float32Array, // [out, r]
    private readonly scale: number,
  ) {}

  static async of(adapter: LoraLinear, scale: number): Promise<FusedWeight> {
    const [a, b] = await Promise.all([adapter.loraA.data<'float32'>(), adapter.loraB.data<'float32'>()]);
    return new FusedWeight(adapter, a.slice(), b.slice(), scale * adapter.scale);
  }

  get shape(): readonly number[] {
    return this.adapter.shape;
  }

  async read(): Promise<Float32Array> {
    const { adapter, a, b, scale } = this;
    const [out, size] = adapter.shape as [number, number];
    const weight = Float32Array.from(await readValues(adapter.base));
    const delta = new Float64Array(size);
    for (let o = 0; o < out; o++) {
      delta.fill(0);
      for (let k = 0; k < adapter.r; k++) {
        const factor = scale * b[o * adapter.r + k]!;
        for (let i = 0; i < size; i++) delta[i]! += factor * a[k * size + i]!;
      }
      for (let i = 0; i < size; i++) weight[o * size + i]! += delta[i]!;
    }
    return weight;
  }
}
