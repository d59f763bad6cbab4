import { readValues, type StoredTensor } from '@alignprop/autograd-ext';
import type { Tensor } from '@tensorflow/tfjs-core';
import type { LoraLayer } from './lora-layer.js';

/** A change of a frozen weight that is computed whenever the weight is read. */
export interface WeightChange {
  /** Returns why the change does not fit a weight of this shape; undefined if it fits. */
  misfit(shape: readonly number[]): string | undefined;
  /**
   * Changes the values of a weight in place.
   * @param weight in row-major order
   * @param strength 1 applies the change whole, 0 not at all
   */
  apply(weight: Float32Array, shape: readonly number[], strength: number): Promise<void>;
}

/** A frozen weight with a change: the sum is computed at every read, so that weights in files stay there. */
export class ChangedWeight implements StoredTensor {
  readonly dtype = 'F32';

  /** @param adapter what `unfuseLora` puts back; undefined for a change that was never a layer of its own */
  constructor(
    readonly base: Tensor | StoredTensor,
    readonly change: WeightChange,
    readonly strength: number,
    readonly adapter?: LoraLayer,
  ) {}

  get shape(): readonly number[] {
    return this.base.shape;
  }

  async read(): Promise<Float32Array> {
    const values = Float32Array.from(await readValues(this.base));
    await this.change.apply(values, this.shape, this.strength);
    return values;
  }

  /** Returns the same change with another strength. */
  withStrength(strength: number): ChangedWeight {
    return new ChangedWeight(this.base, this.change, strength, this.adapter);
  }
}
