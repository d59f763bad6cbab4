import { linear, type LinearMap, type StoredTensor } from '@alignprop/autograd-ext';
import { add, mul, type Tensor } from '@tensorflow/tfjs-core';

/**
 * A matrix with a low-rank adapter: y = x·Wᵀ + scale·(x·Aᵀ)·Bᵀ (Hu et al. 2021, "LoRA", equation 3; scale is their
 * α/r). It takes the place of a module's `weight`. W, A and B belong to the caller; this object frees nothing.
 */
export class LoraLinear implements LinearMap {
  /**
   * @param base W, frozen, `[out, in]`; if it is still in a file, an engine must load it before `apply`
   * @param loraA A, `[r, in]`
   * @param loraB B, `[out, r]`
   */
  constructor(
    readonly base: Tensor | StoredTensor,
    readonly loraA: Tensor,
    readonly loraB: Tensor,
    readonly scale: number,
  ) {}

  get shape(): readonly number[] {
    return this.base.shape;
  }

  /** The rank. */
  get r(): number {
    return this.loraA.shape[0]!;
  }

  /** α = scale·r, rounded to 12 digits: the division by r leaves an error in the last bits. */
  get alpha(): number {
    return Number((this.scale * this.r).toPrecision(12));
  }

  /** @param x `[N, in]` */
  apply(x: Tensor): Tensor {
    const delta = linear(linear(x, this.loraA), this.loraB); // [N, r] → [N, out]
    return add(linear(x, this.base as Tensor), mul(delta, this.scale));
  }

  parts(): Readonly<Record<string, Tensor | StoredTensor>> {
    return { 'base_layer.weight': this.base, 'lora_A.weight': this.loraA, 'lora_B.weight': this.loraB };
  }

  with(parts: Readonly<Record<string, Tensor | StoredTensor>>): LoraLinear {
    const { base, loraA, loraB } = this;
    return new LoraLinear(
      parts['base_layer.weight'] ?? base,
      (parts['lora_A.weight'] as Tensor | undefined) ?? loraA,
      (parts['lora_B.weight'] as Tensor | undefined) ?? loraB,
      this.scale,
    );
  }

  /** Returns the same adapter with another scale. */
  withScale(scale: number): LoraLinear {
    return new LoraLinear(this.base, this.loraA, this.loraB, scale);
  }
}
