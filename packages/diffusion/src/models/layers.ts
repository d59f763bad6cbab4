import type { Tensor, Tensor1D } from '@tensorflow/tfjs-core';
import type { Matrix } from '@alignprop/autograd-ext';
import type { ParamsSpec } from '@alignprop/autograd-ext/weights';

/** A convolution: weight `[out, in, kh, kw]`, bias `[out]`. */
export type Conv2DParams = { weight: Tensor; bias: Tensor1D };
/** A linear map: weight `[out, in]`, bias `[out]` where it has one. */
export type LinearParams = { weight: Matrix; bias?: Tensor1D };
/** A group or layer normalisation: weight and bias `[C]`. */
export type NormParams = { weight: Tensor1D; bias: Tensor1D };
/** An embedding table, `[entries, C]`. */
export type EmbeddingParams = { weight: Tensor };

/** The weights of a convolution with a square kernel. */
export function conv2dSpec(inChannels: number, outChannels: number, kernel: number) {
  return {
    weight: { shape: [outChannels, inChannels, kernel, kernel] },
    bias: { shape: [outChannels] },
  } satisfies ParamsSpec;
}

/** The weights of a linear map. */
export function linearSpec(inFeatures: number, outFeatures: number, { bias = true } = {}): ParamsSpec {
  const weight = { shape: [outFeatures, inFeatures] };
  return bias ? { weight, bias: { shape: [outFeatures] } } : { weight };
}

/** The weights of a normalisation. */
export function normSpec(channels: number) {
  return { weight: { shape: [channels] }, bias: { shape: [channels] } } satisfies ParamsSpec;
}

/** `length` times the same module. */
export function repeatSpec(length: number, spec: (index: number) => ParamsSpec): readonly ParamsSpec[] {
  return Array.from({ length }, (_, index) => spec(index));
}
