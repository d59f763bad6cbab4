import type { Tensor, Tensor1D } from '@tensorflow/tfjs-core';
import type { Kernel, Matrix } from '@alignprop/autograd-ext';
import type { ParamsSpec } from '@alignprop/autograd-ext/weights';

/** The weights of a convolution: weight `[out, in, kh, kw]`, bias `[out]`. */
export type Conv2DParams = { weight: Kernel; bias: Tensor1D };
/** The weights of a linear layer: weight `[out, in]`, optional bias `[out]`. */
export type LinearParams = { weight: Matrix; bias?: Tensor1D };
/** The weights of a group or layer normalisation: weight and bias `[C]`. */
export type NormParams = { weight: Tensor1D; bias: Tensor1D };
/** The weights of an embedding table: `[entries, C]`. */
export type EmbeddingParams = { weight: Tensor };

/** Returns the weights that a convolution with a square kernel requires. */
export function conv2dSpec(inChannels: number, outChannels: number, kernel: number) {
  return {
    weight: { shape: [outChannels, inChannels, kernel, kernel] },
    bias: { shape: [outChannels] },
  } satisfies ParamsSpec;
}

/** Returns the weights that a linear layer requires. */
export function linearSpec(inFeatures: number, outFeatures: number, { bias = true } = {}): ParamsSpec {
  const weight = { shape: [outFeatures, inFeatures] };
  return bias ? { weight, bias: { shape: [outFeatures] } } : { weight };
}

/** Returns the weights that a normalisation requires. */
export function normSpec(channels: number) {
  return { weight: { shape: [channels] }, bias: { shape: [channels] } } satisfies ParamsSpec;
}

/** Returns the weights that a list of `length` modules requires. */
export function repeatSpec(length: number, spec: (index: number) => ParamsSpec): readonly ParamsSpec[] {
  return Array.from({ length }, (_, index) => spec(index));
}
