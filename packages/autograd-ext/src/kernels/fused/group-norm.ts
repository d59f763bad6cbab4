import type { HostKernel } from '../registry/host-kernel.js';
import { groupNormGradLoop, groupNormLoop, type GroupNormAttrs } from './group-norm-loops.js';
import { groupNormGradSimd, groupNormSimd } from './group-norm-simd.js';

/** Group normalisation of `[B, S, C]` with a weight and bias `[C]`. */
export const groupNormKernel: HostKernel<GroupNormAttrs> = {
  name: 'GroupNorm',
  outputShape: ({ x }) => x!,
  run: groupNormLoop,
  simd: groupNormSimd,
};

/** The gradient of group normalisation with respect to x. */
export const groupNormGradKernel: HostKernel<GroupNormAttrs> = {
  name: 'GroupNormGrad',
  outputShape: ({ x }) => x!,
  run: groupNormGradLoop,
  simd: groupNormGradSimd,
};
