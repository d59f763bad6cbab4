import { customGrad, tidy, zerosLike, type Tensor } from '@tensorflow/tfjs-core';
import { trainable, type Params } from './params.js';
import { gradients, type ModelFunction } from './vjp.js';

/**
 * `fn(params, ...inputs)` whose intermediate results are not kept for the backward pass but computed again there. All
 * inputs and trainable leaves are differentiated together; a tensor that needs no gradient is better captured by `fn`.
 * A tensor to be differentiated must not be captured: the gradient does not see it.
 * @param fn gives one tensor; outputs after the first are dropped
 */
export function checkpoint(fn: ModelFunction, params: Params, ...inputs: Tensor[]): Tensor {
  // The leaves are inputs of the operation, or the tape would not connect them with its result; fn reads them from
  // params.
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
