import type { Tensor } from '@tensorflow/tfjs-core';
import type { Params } from '../params.js';
import type { Precision } from './precision.js';
import type { ModelFunction, Vjp } from '../vjp.js';

/** A model function made ready to run. The caller owns the outputs. */
export type Compiled = (params: Params, ...inputs: Tensor[]) => Promise<readonly Tensor[]>;

/** A model function and its vector-Jacobian product in one call. The caller owns every tensor of the result. */
export interface CompiledVjp {
  (params: Params, inputs: readonly Tensor[], dy?: Tensor): Promise<Vjp>;
  /**
   * Runs the function alone and keeps its intermediate results for the gradient, if this engine can and has memory left
   * for them: time for memory. Undefined where it does not; then call the function for both together.
   */
  keep?(params: Params, inputs: readonly Tensor[]): Promise<KeptForward | undefined>;
}

/** A function that has been run, waiting for its gradient. */
export interface KeptForward {
  /** The function's outputs; they belong to the caller. */
  readonly outputs: readonly [Tensor, ...Tensor[]];
  /** Memory held until `release`. */
  readonly bytes: number;
  /** The gradients, from the same weights and inputs. The caller owns them. */
  backward(dy: Tensor): Promise<Pick<Vjp, 'inputs' | 'params'>>;
  release(): void;
}

/**
 * Decides how model functions run. Compiling is lazy: shapes are those of the first call, and new shapes compile anew.
 * An engine owns whatever it makes of frozen weights (tensors read from files, packed layouts) until `dispose`.
 */
export interface Engine {
  readonly name: string;
  /**
   * Whether a function is called only once for each shape, to be recorded: what it reads besides its arguments stays as
   * it was then.
   */
  readonly records: boolean;
  /** What products are computed in. */
  readonly precision: Precision;
  compile(fn: ModelFunction): Compiled;
  /** @param wrt indices of the inputs whose gradients are wanted; none by default */
  compileVjp(fn: ModelFunction, options?: { wrt?: readonly number[] }): CompiledVjp;
  dispose(): void;
}
