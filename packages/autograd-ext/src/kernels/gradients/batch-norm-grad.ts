import {
  add,
  backend_util,
  engine,
  mul,
  neg,
  ones,
  reshape,
  rsqrt,
  sub,
  sum,
  zeros,
  type Tensor,
} from '@tensorflow/tfjs-core';
import { replaceGradient } from '../registry/replace-gradient.js';
import { wrapKernel } from '../registry/wrap-kernel.js';

/**
 * Adds a scale of ones and an offset of zeros to a call of tf.batchNorm without them while a gradient is recorded: tfjs
 * cannot save or differentiate a missing input.
 */
export function completeBatchNormInputs(
  backends: readonly string[] = ['wasm', 'cpu', 'webgl', 'webgpu', 'tensorflow'],
): void {
  for (const backend of backends) {
    wrapKernel('FusedBatchNorm', backend, (call, original) => {
      const inputs = call.inputs as Record<string, Tensor>;
      if (engine().state.gradientDepth > 0) {
        inputs['scale'] ??= ones(inputs['mean']!.shape); // changes the object that the tape saves the inputs from
        inputs['offset'] ??= zeros(inputs['mean']!.shape);
      }
      return original(call);
    });
  }
}

/**
 * Replaces the gradient of tf.batchNorm by independent thunks. (tfjs tiles the scale over the whole image, and computes
 * the intermediate results of all thunks first.)
 */
export const replaceBatchNormGradient = () =>
  replaceGradient<{ readonly varianceEpsilon: number }>(
    'FusedBatchNorm',
    (dy, [x, mean, variance, scale], { varianceEpsilon }) => {
      const axes = backend_util.getReductionAxes(mean!.shape, x!.shape);
      const reduce = (tensor: Tensor) => reshape(axes.length ? sum(tensor, axes) : tensor, mean!.shape);
      const slope = () => rsqrt(add(variance!, varianceEpsilon)); // d normalised x / dx
      const scaled = () => (scale ? mul(slope(), scale) : slope());
      return {
        x: () => mul(dy, scaled()),
        mean: () => neg(mul(reduce(dy), scaled())),
        variance: () => mul(mul(reduce(mul(dy, sub(x!, mean!))), mul(scaled(), -0.5)), mul(slope(), slope())),
        scale: () => mul(reduce(mul(dy, sub(x!, mean!))), slope()),
        offset: () => reduce(dy),
      };
    },
  );
