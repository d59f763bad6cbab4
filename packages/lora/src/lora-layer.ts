import { conv2d, linear, type Conv2DOptions, type LinearMap, type StoredTensor } from '@alignprop/autograd-ext';
import { add, mul, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import { doraFactors, type DoraAxis } from './dora.js';

/** The part of a LoRA layer that makes it a DoRA layer. */
export interface Dora {
  /** m, the lengths that the rows (or columns) of the adapted weight get: `[out]`, or `[in]` for the axis `input`. */
  readonly magnitude: Tensor;
  readonly axis: DoraAxis;
  /**
   * Whether gradients also go through the lengths of V. false treats these as constants, as peft does (Liu et al.
   * 2024, "DoRA", section 4.3): cheaper, but not the derivative of the output.
   */
  readonly exactGradient: boolean;
}

/** The parts of a `LoraLayer`. */
export interface LoraLayerParts {
  /** W, frozen, `[out, in]` or `[out, in, kh, kw]`; if it is still in a file, an engine must load it before `apply`. */
  readonly base: Tensor | StoredTensor;
  /** A, `[r, in]` or `[r, in, kh, kw]`. */
  readonly loraA: Tensor;
  /** B, `[out, r]` or `[out, r, 1, 1]`. */
  readonly loraB: Tensor;
  readonly scale: number;
  readonly dora?: Dora;
}

/**
 * A linear layer or convolution with a low-rank adapter: y = W(x) + scale·B(A(x)) (Hu et al. 2021, "LoRA", equation 3;
 * scale is their α/r). In a convolution, A has the layer's kernel, stride and padding, and B is 1×1, as in peft. With
 * DoRA, y = m/|V|·V(x) for V = W + scale·B·A (Liu et al. 2024, equation 5). It takes the place of a module's `weight`.
 * W, A, B and m belong to the caller; this object frees nothing.
 */
export class LoraLayer implements LinearMap {
  readonly base: Tensor | StoredTensor;
  readonly loraA: Tensor;
  readonly loraB: Tensor;
  readonly scale: number;
  readonly dora: Dora | undefined;

  constructor({ base, loraA, loraB, scale, dora }: LoraLayerParts) {
    this.base = base;
    this.loraA = loraA;
    this.loraB = loraB;
    this.scale = scale;
    this.dora = dora;
  }

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

  /** Maps `[N, in]` to `[N, out]`, or images `[B, H, W, in]` to `[B, H', W', out]`. */
  apply(x: Tensor, options?: Conv2DOptions): Tensor {
    if (!this.dora) return this.#adapted(x, options);
    const factors = doraFactors({ ...this, weight: this.base as Tensor }, this.dora); // m/|V|, [out] or [in]
    return this.dora.axis === 'output'
      ? mul(this.#adapted(x, options), factors)
      : this.#adapted(mul(x, factors), options);
  }

  /** Returns V(x) = W(x) + scale·B(A(x)). */
  #adapted(x: Tensor, options?: Conv2DOptions): Tensor {
    const map = (x: Tensor, weight: Tensor, options?: Conv2DOptions): Tensor =>
      weight.rank === 4 ? conv2d(x as Tensor4D, weight, undefined, options) : linear(x, weight);
    const delta = map(map(x, this.loraA, options), this.loraB); // [N, r] → [N, out]
    return add(map(x, this.base as Tensor, options), mul(delta, this.scale));
  }

  /** The trainable or adapted tensors by their names in peft: A, B and, with DoRA, m. */
  adapterTensors(): Readonly<Record<string, Tensor>> {
    return {
      'lora_A.weight': this.loraA,
      'lora_B.weight': this.loraB,
      ...(this.dora && { lora_magnitude_vector: this.dora.magnitude }),
    };
  }

  parts(): Readonly<Record<string, Tensor | StoredTensor>> {
    return { 'base_layer.weight': this.base, ...this.adapterTensors() };
  }

  with(parts: Readonly<Record<string, Tensor | StoredTensor>>): LoraLayer {
    const { dora, scale } = this;
    const tensors = { ...this.adapterTensors(), ...(parts as Readonly<Record<string, Tensor>>) };
    return new LoraLayer({
      base: parts['base_layer.weight'] ?? this.base,
      loraA: tensors['lora_A.weight']!,
      loraB: tensors['lora_B.weight']!,
      scale,
      ...(dora && { dora: { ...dora, magnitude: tensors['lora_magnitude_vector']! } }),
    });
  }

  /** Returns the same adapter with another scale. With DoRA it multiplies the change of V, as in peft. */
  withScale(scale: number): LoraLayer {
    return new LoraLayer({ ...this, scale });
  }
}
