import { add, mean, mul, reshape, rsqrt, square, sub, sum, type Tensor } from '@tensorflow/tfjs-core';
import { defineOp } from '../define-op.js';
import { groupNormGradKernel, groupNormKernel } from '../kernels/fused/group-norm.js';
import type { GroupNormAttrs } from '../kernels/fused/group-norm-loops.js';
import { registerHostKernel } from '../kernels/registry/host-kernel.js';

/**
 * Group normalisation, as torch.nn.functional.group_norm: with mean and variance over all positions and the channels of
 * each group.
 * @param x `[B, ..., C]`
 * @param weight `[C]`
 * @param bias `[C]`
 * @throws if the groups do not divide the channels, or weight or bias does not match them
 */
export function groupNorm(
  x: Tensor,
  weight: Tensor,
  bias: Tensor,
  { groups, eps }: { groups: number; eps: number },
): Tensor {
  const [batch, channels] = [x.shape[0]!, x.shape.at(-1)!];
  if (channels % groups)
    throw new Error(`groupNorm: groups got ${groups}, expected a divisor of the ${channels} channels of x.`);
  if (weight.size !== channels || bias.size !== channels)
    throw new Error(
      `groupNorm: weight and bias got shapes [${weight.shape}] and [${bias.shape}], ` +
        `expected [${channels}] for x [${x.shape}].`,
    );
  return reshape(groupNormOp({ x: reshape(x, [batch, -1, channels]), weight, bias }, { groups, eps }), x.shape);
}

registerHostKernel(groupNormKernel);
registerHostKernel(groupNormGradKernel);

const groupNormOp = defineOp<GroupNormAttrs>({
  name: 'GroupNorm',
  forward: ({ x, weight, bias }, attrs) => add(mul(reshape(normalise(x!, attrs).normalised, x!.shape), weight!), bias!),
  inputsToSave: ['x', 'weight'],
  gradient: (dy, [x, weight], attrs) => ({
    x: () => groupNormGrad({ x: x!, weight: weight!, dy }, attrs),
    weight: () => sum(mul(dy, reshape(normalise(x!, attrs).normalised, x!.shape)), [0, 1]),
    bias: () => sum(dy, [0, 1]),
  }),
});

const groupNormGrad = defineOp<GroupNormAttrs>({
  name: 'GroupNormGrad',
  forward: ({ x, weight, dy }, attrs) => {
    const { normalised, scale } = normalise(x!, attrs);
    const g = grouped(mul(dy!, weight!), attrs.groups);
    const projected = add(mean(g, [1, 3], true), mul(normalised, mean(mul(g, normalised), [1, 3], true)));
    return reshape(mul(scale, sub(g, projected)), x!.shape);
  },
});

// [B, S, G, C/G]
const grouped = (x: Tensor, groups: number) => reshape(x, [x.shape[0]!, -1, groups, x.shape.at(-1)! / groups]);

function normalise(x: Tensor, { groups, eps }: GroupNormAttrs) {
  const split = grouped(x, groups);
  const centred = sub(split, mean(split, [1, 3], true));
  const scale = rsqrt(add(mean(square(centred), [1, 3], true), eps)); // [B, 1, G, 1]
  return { normalised: mul(centred, scale), scale };
}
