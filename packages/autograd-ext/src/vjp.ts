import { clone, engine, keep, tidy, zerosLike, type Tensor } from '@tensorflow/tfjs-core';
import { trainable, type Params } from './params.js';
import { correctTfjs } from './register-gradients.js';

/** A pure, synchronous function of weights and tensors. Only the first output is differentiated. */
export type ModelFunction = (params: Params, ...inputs: Tensor[]) => Tensor | readonly [Tensor, ...Tensor[]];

/** The value of a function and the vector-Jacobian product of an output gradient. */
export interface Vjp {
  /** The first output. */
  readonly value: Tensor;
  /** Further outputs, not differentiated. */
  readonly aux: readonly Tensor[];
  /** Gradients of the inputs whose indices are in `wrt`, in that order. */
  readonly inputs: readonly Tensor[];
  /** Gradients of the trainable leaves, by path. */
  readonly params: Readonly<Record<string, Tensor>>;
}

/**
 * Runs `fn` and computes the vector-Jacobian product of `dy`, the gradient of its first output, with respect to the
 * trainable leaves and the inputs in `wrt`. The gradient is zero where the output does not depend on a tensor.
 * @param dy same shape as the first output; ones by default
 * @param wrt indices of the inputs to differentiate; all by default
 */
export function vjp(
  fn: ModelFunction,
  params: Params,
  inputs: readonly Tensor[],
  dy?: Tensor,
  wrt: readonly number[] = inputs.map((_, i) => i),
): Vjp {
  const variables = trainable(params);
  return tidy(() => {
    // Clones give each argument a gradient of its own, even if one tensor is passed twice or also captured by `fn`.
    const differentiated = wrt.map((index) => clone(inputs[index]!));
    const all = inputs.slice();
    wrt.forEach((index, i) => (all[index] = differentiated[i]!));
    const xs = [...differentiated, ...Object.values(variables)];
    const furtherOutputs: Tensor[] = []; // kept: tfjs would dispose them when `gradients` ends
    const { value, grads } = gradients(
      () => {
        const [first, ...rest] = [fn(params, ...all)].flat() as [Tensor, ...Tensor[]];
        furtherOutputs.push(...rest.map((tensor) => keep(tensor)));
        return first;
      },
      xs,
      dy,
    );
    const aux = furtherOutputs.map((tensor) => clone(tensor));
    furtherOutputs.forEach((tensor) => tensor.dispose());
    const filled = xs.map((x, i) => grads[i] ?? zerosLike(x));
    return {
      value,
      aux,
      inputs: filled.slice(0, wrt.length),
      params: Object.fromEntries(Object.keys(variables).map((name, i) => [name, filled[wrt.length + i]!])),
    };
  });
}

/**
 * Computes the value of `fn` and the gradients of `xs`, as `engine().gradients`, but may be called inside another
 * gradient: restores the outer tape, which tfjs drops when an inner call ends.
 * @param dy gradient of the output; ones by default
 * @returns an undefined gradient where the output does not depend on the tensor
 */
export function gradients(
  fn: () => Tensor,
  xs: Tensor[],
  dy?: Tensor,
): { value: Tensor; grads: (Tensor | undefined)[] } {
  correctTfjs(); // the umbrella package, if imported since, has registered tfjs's own gradients again
  const { state } = engine();
  const outerTape = state.activeTape;
  try {
    return engine().gradients(fn, xs, dy, true);
  } finally {
    state.activeTape = outerTape;
  }
}
