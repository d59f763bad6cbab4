import { optionNames } from '../../check-options.js';
import type { Precision } from '../../precision.js';
import type { CompileProgress } from './runtime/program.js';
import type { OnnxRuntime } from './runtime/runtime.js';
import type { SessionOptions } from './runtime/session.js';

/** Options of `OnnxRuntimeEngine`; the device is 'cpu' by default. */
export interface OnnxRuntimeEngineOptions extends Partial<SessionOptions> {
  /**
   * Memory of the whole process in bytes, weights included. Large models end their sessions while others run, gradients
   * are computed in segments whose activations are computed again, and steps are recomputed rather than kept, as far as
   * the limit demands it; a model that needs more even so takes what it needs. By default 70 % of the memory that is
   * free at the first gradient, beside the weights.
   */
  readonly maxMemory?: number;
  /**
   * The number format of matrix products and convolutions, 'float32' by default. The CPU has no float16 arithmetic: it
   * rounds to float16, slowly.
   */
  readonly precision?: Exclude<Precision, 'bfloat16'>;
  /** Called before and after each compilation of a graph. */
  readonly onCompile?: (progress: CompileProgress) => void;
  /**
   * Whether sessions run in a process of their own, which does not block this one and computes faster on Linux: there
   * the system hands out its memory in large pages. Inputs and outputs are copied. By default, functions whose weights
   * or activations take at least 256 MiB and whose inputs, trainable weights included, at most 64 MiB, on the CPU.
   * Where a program may not start processes, sessions run in this one.
   */
  readonly ownProcess?: boolean;
  /** Runs the graphs: onnxruntime-node by default; in browsers `webRuntime` of onnxruntime-web. */
  readonly runtime?: OnnxRuntime;
}

/** The names of `OnnxRuntimeEngineOptions`. */
export const onnxRuntimeOptionNames = optionNames<OnnxRuntimeEngineOptions>({
  device: true,
  threads: true,
  relayout: true,
  profile: true,
  maxMemory: true,
  precision: true,
  onCompile: true,
  ownProcess: true,
  runtime: true,
});
