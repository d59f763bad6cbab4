import { customGrad, tidy, zerosLike, type Tensor } from '@tensorflow/tfjs-core';
import { trainable, type Params } from './params.js';
import { gradients, type ModelFunction } from './vjp.js';

/**
 * Runs `fn(params, ...inputs)` without saving activations for backward; the backward pass recomputes them.
 * Differentiates all inputs and trainable leaves together, even those whose gradient is not needed: let `fn` capture a
 * tensor that needs no gradient. A captured tensor gets none.
 * @param fn returns one tensor; further outputs are dropped
 */
export function checkpoint(fn: ModelFunction, params: Params, ...inputs: Tensor[]): Tensor {
  // The variables are passed to customGrad so that the tape connects them with the result; fn reads them from params.
  const variables = Object.values(trainable(params));
  const run = (xs: Tensor[]) => [fn(params, ...xs)].flat()[0] as Tensor;
  return customGrad((...args) => {
    const save = args.at(-1) as unknown as (tensors: Tensor[]) => void;
    const xs = args.slice(0, inputs.length) as Tensor[];
    save(xs);
    return { value: run(xs), gradFunc: (dy, saved) => backward(run, saved as Tensor[], variables, dy as Tensor) };
  })(...inputs, ...variables);
}

function backward(run: (xs: Tensor[]) => Tensor, inputs: Tensor[], variables: Tensor[], dy: Tensor): Tensor[] {
  const xs = [...inputs, ...variables];
  return tidy(() => gradients(() => run(inputs), xs, dy).grads.map((grad, i) => grad ?? zerosLike(xs[i]!)));
}
