import { ensureBackend, useBackend, type BackendName } from '../backend.js';
import type { Engine } from './engine.js';
import { checkOptions } from '../check-options.js';
import { OnnxRuntimeEngine, onnxRuntimeOptionNames, type OnnxRuntimeEngineOptions } from './onnxruntime/engine.js';
import { findRuntime } from './onnxruntime/runtime/session.js';
import { installCommand } from '../optional-package.js';
import { TfjsEngine } from './tfjs.js';

export const engineNames = ['onnxruntime', 'tfjs'] as const;
export type EngineName = (typeof engineNames)[number];

export interface EngineOptions extends OnnxRuntimeEngineOptions {
  /** Defaults to `onnxruntime` if onnxruntime-node is installed and `backend` is not given, else to `tfjs`. */
  readonly engine?: EngineName;
  /**
   * The tfjs backend. The tfjs engine computes on it; the onnxruntime engine stores its inputs and outputs there. By
   * default the active one, else `wasm`.
   */
  readonly backend?: BackendName;
}

/**
 * Creates the named engine, or the fastest one that is installed, and activates a tfjs backend.
 * @throws if the name or an option is unknown, the engine is not installed, or the backend cannot start here
 */
export async function createEngine({ engine, backend, ...options }: EngineOptions = {}): Promise<Engine> {
  checkOptions('createEngine', options, ['engine', 'backend', ...onnxRuntimeOptionNames]);
  await (backend ? useBackend(backend) : ensureBackend());
  const name = engine ?? (backend === undefined && (await findRuntime()) ? 'onnxruntime' : 'tfjs');
  if (!engineNames.includes(name))
    throw new Error(`createEngine: engine got '${name}', expected one of ${engineNames.join(', ')}.`);
  if (name === 'tfjs') return new TfjsEngine();
  if (!(await findRuntime()))
    throw new Error(
      "createEngine: engine got 'onnxruntime', but onnxruntime-node is not installed. " +
        `Run '${await installCommand('onnxruntime-node')}', or use 'tfjs'.`,
    );
  return new OnnxRuntimeEngine(options);
}
