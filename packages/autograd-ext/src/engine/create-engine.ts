import { ensureBackend, useBackend, type BackendName } from '../backend.js';
import type { Engine } from './engine.js';
import type { Precision } from '../precision.js';
import { checkOptions } from '../check-options.js';
import { onnxRuntimeOptionNames, type OnnxRuntimeEngineOptions } from './onnxruntime/options.js';
import { findRuntime, type RuntimeProblem } from './onnxruntime/runtime/onnx-runtime.js';
import { TfjsEngine } from './tfjs.js';

export const engineNames = ['onnxruntime', 'tfjs'] as const;
export type EngineName = (typeof engineNames)[number];

export interface EngineOptions extends Omit<OnnxRuntimeEngineOptions, 'precision'> {
  /** Defaults to `onnxruntime` if onnxruntime-node can be loaded and `backend` is not given, else to `tfjs`. */
  readonly engine?: EngineName;
  /**
   * The tfjs backend. The tfjs engine computes on it; the onnxruntime engine stores its inputs and outputs there. By
   * default the active one, else `wasm`. On `tensorflow`, `threads` are also those of its operators.
   */
  readonly backend?: BackendName;
  /**
   * Called with a sentence if the tfjs engine is chosen because ONNX Runtime is missing or does not load: why, and the
   * command that mends it. By default a warning of Node's process, once.
   */
  readonly onWarning?: (message: string) => void;
  /** Number format of products: 'bfloat16' on the tfjs backend `tensorflow`, 'float16' there and on onnxruntime. */
  readonly precision?: Precision;
}

/**
 * Creates the named engine, or the fastest one that works here, and activates a tfjs backend.
 * @throws if the name or an option is unknown, the engine is not installed, or the backend cannot start here
 */
export async function createEngine({
  engine,
  backend,
  precision,
  onWarning = warnOnce,
  ...options
}: EngineOptions = {}): Promise<Engine> {
  checkOptions('createEngine', options, ['engine', 'backend', 'precision', 'onWarning', ...onnxRuntimeOptionNames]);
  if (engine !== undefined && !engineNames.includes(engine))
    throw new Error(`createEngine: engine got '${engine as string}', expected one of ${engineNames.join(', ')}.`);
  const { threads } = options;
  await (backend ? useBackend(backend, backend === 'tensorflow' ? { threads } : {}) : ensureBackend());
  if (engine === 'tfjs' || (engine === undefined && backend !== undefined)) return new TfjsEngine({ precision });
  const { problem } = options.runtime ? {} : await findRuntime();
  if (!problem) {
    const { OnnxRuntimeEngine } = await import('./onnxruntime/engine.js'); // browsers never load it
    return new OnnxRuntimeEngine({ ...options, precision: precision as OnnxRuntimeEngineOptions['precision'] });
  }
  if (engine === 'onnxruntime')
    throw new Error(`createEngine: engine got 'onnxruntime', but ${problem.reason}. ${problem.remedy}\nOr use 'tfjs'.`);
  const tfjs = new TfjsEngine();
  if (!problem.isExpected) onWarning(slowEngine(tfjs.device, problem));
  return tfjs;
}

const slowEngine = (backend: string, { reason, remedy }: RuntimeProblem): string =>
  `the model runs on tfjs (${backend}), about five times slower than on ONNX Runtime: ${reason}. ${remedy}`;

let hasWarned = false;

/** Lets Node print the warning, unless the program listens to the event `warning` or runs with --no-warnings. */
function warnOnce(message: string): void {
  if (!hasWarned) process.emitWarning(`createEngine: ${message}`, { code: 'ALIGNPROP_SLOW_ENGINE' });
  hasWarned = true;
}
