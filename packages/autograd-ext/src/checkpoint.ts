import { customGrad, tidy, zerosLike, type Tensor } from '@tensorflow/tfjs-core';
import { trainable, withTensors, type Params } from './params.js';
import { gradients, type ModelFunction } from './vjp.js';

/**
 * `fn(params, ...inputs)` whose intermediate results are not kept for the backward pass but computed again there.
 * All inputs and trainable leaves are differentiated together; what needs no gradient is better captured by `fn`.
 * @param fn gives one tensor; outputs after the first are dropped
 */
export function checkpoint(fn: ModelFunction, params: Params, ...inputs: Tensor[]): Tensor {
  const variables = trainable(params);
  const names = Object.keys(variables);
  const run = (xs: readonly Tensor[]) => {
    const named = Object.fromEntries(names.map((name, i) => [name, xs[inputs.length + i]!]));
    return [fn(withTensors(params, named), ...xs.slice(0, inputs.length))].flat()[0] as Tensor;
  };
  return customGrad((...args) => {
    const save = args.pop() as (tensors: Tensor[]) => void;
    const xs = args as Tensor[];
    save(xs);
    return { value: run(xs), gradFunc: (dy, saved) => backward(run, saved as Tensor[], dy as Tensor) };
  })(...inputs, ...Object.values(variables));
}

function backward(run: (xs: readonly Tensor[]) => Tensor, xs: Tensor[], dy: Tensor): Tensor[] {
  return tidy(() => gradients(() => run(xs), xs, dy).grads.map((grad, i) => grad ?? zerosLike(xs[i]!)));
}
