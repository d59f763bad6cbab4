import { add, mean, mul, reshape, rsqrt, square, sub, sum, type Tensor } from '@tensorflow/tfjs-core';
import { defineOp } from '../define-op.js';
import { registerHostKernel } from '../kernels/registry/host-kernel.js';
import { layerNormGradKernel, layerNormKernel } from '../kernels/fused/layer-norm.js';

/**
 * Layer normalisation over the last axis, as torch.nn.functional.layer_norm.
 * @param x `[..., C]`
 * @param weight `[C]`
 * @param bias `[C]`
 * @throws if weight or bias does not match the channels
 */
export function layerNorm(x: Tensor, weight: Tensor, bias: Tensor, { eps }: { eps: number }): Tensor {
  const channels = x.shape.at(-1)!;
  if (weight.size !== channels || bias.size !== channels)
    throw new Error(
      `layerNorm: weight and bias got shapes [${weight.shape}] and [${bias.shape}], ` +
        `expected [${channels}] for x [${x.shape}].`,
    );
  return reshape(layerNormOp({ x: reshape(x, [-1, channels]), weight, bias }, { eps }), x.shape);
}

interface LayerNormAttrs {
  readonly eps: number;
}

registerHostKernel(layerNormKernel);
registerHostKernel(layerNormGradKernel);

const layerNormOp = defineOp<LayerNormAttrs>({
  name: 'LayerNorm',
  forward: ({ x, weight, bias }, { eps }) => add(mul(normalise(x!, eps).normalised, weight!), bias!),
  inputsToSave: ['x', 'weight'],
  gradient: (dy, [x, weight], { eps }) => ({
    x: () => layerNormGrad({ x: x!, weight: weight!, dy }, { eps }),
    weight: () => sum(mul(dy, normalise(x!, eps).normalised), 0),
    bias: () => sum(dy, 0),
  }),
});

const layerNormGrad = defineOp<LayerNormAttrs>({
  name: 'LayerNormGrad',
  forward: ({ x, weight, dy }, { eps }) => {
    const { normalised, scale } = normalise(x!, eps);
    const g = mul(dy!, weight!); // [N, C]
    const projected = add(mean(g, -1, true), mul(normalised, mean(mul(g, normalised), -1, true)));
    return mul(scale, sub(g, projected));
  },
});

function normalise(x: Tensor, eps: number) {
  const centred = sub(x, mean(x, -1, true));
  const scale = rsqrt(add(mean(square(centred), -1, true), eps)); // [N, 1]
  return { normalised: mul(centred, scale), scale };
}
