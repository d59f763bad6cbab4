import { clone, engine, keep, tidy, zerosLike, type Tensor } from '@tensorflow/tfjs-core';
import { trainable, type Params } from './params.js';
import { correctTfjs } from './register-gradients.js';

/**
 * A pure, synchronous function of weights and tensors; the first of several outputs is the one that is differentiated.
 */
export type ModelFunction = (params: Params, ...inputs: Tensor[]) => Tensor | readonly [Tensor, ...Tensor[]];

/** A function's value and the product of an output gradient with its Jacobian. */
export interface Vjp {
  /** The first output. */
  readonly value: Tensor;
  /** Further outputs, not differentiated. */
  readonly aux: readonly Tensor[];
  /** Gradients of the inputs named by `wrt`, in its order. */
  readonly inputs: readonly Tensor[];
  /** Gradients of the trainable leaves, by path. */
  readonly params: Readonly<Record<string, Tensor>>;
}

/**
 * Runs `fn` and multiplies `dy`, the gradient of its first output, with its Jacobian.
 * A leaf or input that the output does not depend on gets a gradient of zeros.
 * @param wrt indices of the inputs to differentiate; all by default
 * @param dy same shape as the first output; ones by default
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
    // Clones, so that an input given twice, or used elsewhere by `fn`, has a gradient of its own.
    const differentiated = wrt.map((index) => clone(inputs[index]!));
    const all = inputs.slice();
    wrt.forEach((index, i) => (all[index] = differentiated[i]!));
    const xs = [...differentiated, ...Object.values(variables)];
    const kept: Tensor[] = [];
    const { value, grads } = gradients(
      () => {
        const [first, ...rest] = [fn(params, ...all)].flat() as [Tensor, ...Tensor[]];
        kept.push(...rest.map((tensor) => keep(tensor)));
        return first;
      },
      xs,
      dy,
    );
    const aux = kept.map((tensor) => clone(tensor));
    kept.forEach((tensor) => tensor.dispose());
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
 * `engine().gradients`, usable inside another gradient: tfjs forgets the outer tape when an inner call ends.
 * A gradient is undefined where the output does not depend on the tensor.
 */
export function gradients(
  fn: () => Tensor,
  xs: Tensor[],
  dy?: Tensor,
): { value: Tensor; grads: (Tensor | undefined)[] } {
  correctTfjs(); // the umbrella package may have been imported since
  const { state } = engine();
  const outer = state.activeTape;
  try {
    return engine().gradients(fn, xs, dy, true);
  } finally {
    state.activeTape = outer;
  }
}
