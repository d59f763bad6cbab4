import type { Tensor } from '@tensorflow/tfjs-core';
import type { Params } from '../params.js';
import type { ModelFunction, Vjp } from '../vjp.js';

/** A model function made ready to run. The caller owns the outputs. */
export type Compiled = (params: Params, ...inputs: Tensor[]) => Promise<readonly Tensor[]>;

/** A model function and its vector-Jacobian product in one run. The caller owns every tensor of the result. */
export type CompiledVjp = (params: Params, inputs: readonly Tensor[], dy?: Tensor) => Promise<Vjp>;

/**
 * Decides how model functions run. Compiling is lazy: shapes are those of the first call, and new shapes compile anew.
 * An engine owns whatever it makes of frozen weights (tensors read from files, packed layouts) until `dispose`.
 */
export interface Engine {
  readonly name: string;
  compile(fn: ModelFunction): Compiled;
  /** @param wrt indices of the inputs whose gradients are wanted; none by default */
  compileVjp(fn: ModelFunction, options?: { wrt?: readonly number[] }): CompiledVjp;
  dispose(): void;
}
