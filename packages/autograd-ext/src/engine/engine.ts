import type { Tensor } from '@tensorflow/tfjs-core';
import type { Params } from '../params.js';
import type { ModelFunction, Vjp } from '../vjp.js';
import type { Precision } from '../precision.js';

/** A compiled model function. The caller owns the outputs. */
export type Compiled = (params: Params, ...inputs: Tensor[]) => Promise<readonly Tensor[]>;

/** Computes a model function and its vector-Jacobian product. The caller owns every tensor of the result. */
export interface CompiledVjp {
  /** @param dy the gradient of the first output, of the same shape; ones by default */
  (params: Params, inputs: readonly Tensor[], dy?: Tensor): Promise<Vjp>;
  /**
   * Runs the function alone and saves its activations for backward: faster than computing them again, but needs memory.
   * An engine may give them up for a run that needs the memory; backward then computes them again.
   * @returns undefined if the activations would exceed the engine's memory limit; then call the function as a whole.
   * Engines that cannot save activations lack this method.
   */
  forward?(params: Params, inputs: readonly Tensor[]): Promise<SavedForward | undefined>;
}

/** A forward run whose activations are saved for its gradient. */
export interface SavedForward {
  /** The function's outputs, owned by the caller. */
  readonly outputs: readonly [Tensor, ...Tensor[]];
  /** Memory in use until `release`, in bytes. */
  readonly bytes: number;
  /** Computes the gradients from the same weights and inputs; may be called more than once. The caller owns them. */
  backward(dy: Tensor): Promise<Pick<Vjp, 'inputs' | 'params'>>;
  /** Frees the activations. Further calls do nothing. */
  release(): void;
}

/** How an engine compiles a function. */
export interface CompileOptions {
  /**
   * Records the function again at every call, and compiles it again if its graph or one of its constants has changed:
   * for functions of the user's, which may read variables that change. False by default; an engine that calls the
   * function needs no such option.
   */
  readonly refresh?: boolean;
}

/**
 * Runs model functions. Compilation is lazy: the first call with new shapes compiles for them. An engine owns
 * everything it derives from frozen weights (tensors read from files, packed layouts) until `dispose`.
 */
export interface Engine {
  readonly name: string;
  /** The processor or library that computes: an ONNX Runtime device such as `cpu` or `cuda`, or a tfjs backend. */
  readonly device: string;
  /**
   * Whether a function is called only once per set of shapes, to be recorded. Values that a recorded function reads
   * besides its arguments are constants from then on, unless it is compiled with `refresh`.
   */
  readonly records: boolean;
  /** The number format of matrix products and convolutions. */
  readonly precision: Precision;
  compile(fn: ModelFunction, options?: CompileOptions): Compiled;
  /** @param options.wrt indices of the inputs to differentiate; none by default */
  compileVjp(fn: ModelFunction, options?: CompileOptions & { wrt?: readonly number[] }): CompiledVjp;
  /** Frees everything the engine owns. It can be used again afterwards and then starts anew. */
  dispose(): void;
}
