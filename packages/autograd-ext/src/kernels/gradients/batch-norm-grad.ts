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
 * Gives tf.batchNorm, while it is being recorded, the scale and offset that were left out: tfjs cannot save or
 * differentiate an input that is not there.
 */
export function completeBatchNormInputs(backends: readonly string[] = ['wasm', 'cpu']): void {
  for (const backend of backends) {
    wrapKernel('FusedBatchNorm', backend, (call, original) => {
      const inputs = call.inputs as Record<string, Tensor>;
      if (engine().state.gradientDepth > 0) {
        inputs['scale'] ??= ones(inputs['mean']!.shape); // in the object that the tape refers to
        inputs['offset'] ??= zeros(inputs['mean']!.shape);
      }
      return original(call);
    });
  }
}

/**
 * The gradient of tf.batchNorm, each part on its own. (tfjs repeats the scale over the whole image, and prepares for
 * all parts first.)
 */
export const replaceBatchNormGradient = () =>
  replaceGradient<{ readonly varianceEpsilon: number }>(
    'FusedBatchNorm',
    (dy, [x, mean, variance, scale], { varianceEpsilon }) => {
      const axes = backend_util.getReductionAxes(mean!.shape, x!.shape);
      const reduce = (tensor: Tensor) => reshape(axes.length ? sum(tensor, axes) : tensor, mean!.shape);
      const slope = () => rsqrt(add(variance!, varianceEpsilon)); // of the normalised x by x
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
