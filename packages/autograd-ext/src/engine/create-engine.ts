import { ensureBackend, useBackend, type BackendName } from '../backend.js';
import type { Engine } from './engine.js';
import { OnnxRuntimeEngine, type OnnxRuntimeEngineOptions } from './onnxruntime/engine.js';
import { findRuntime } from './onnxruntime/runtime/session.js';
import { TfjsEngine } from './tfjs.js';

export const engineNames = ['onnxruntime', 'tfjs'] as const;
export type EngineName = (typeof engineNames)[number];

export interface EngineOptions extends OnnxRuntimeEngineOptions {
  /** By default `onnxruntime` where onnxruntime-node is installed and no `backend` is asked for, else `tfjs`. */
  readonly engine?: EngineName;
  /**
   * tfjs's backend: what the tfjs engine computes on, and where the other keeps its tensors; the active one by default,
   * else `wasm`.
   */
  readonly backend?: BackendName;
}

/**
 * The engine of that name, or the fastest that is installed, with a tfjs backend active.
 * @throws if the engine is not installed, or the backend cannot start here
 */
export async function createEngine({ engine, backend, ...options }: EngineOptions = {}): Promise<Engine> {
  await (backend ? useBackend(backend) : ensureBackend());
  const name = engine ?? (backend === undefined && (await findRuntime()) ? 'onnxruntime' : 'tfjs');
  if (!engineNames.includes(name))
    throw new Error(`createEngine: engine got '${name}', expected one of ${engineNames.join(', ')}.`);
  if (name === 'tfjs') return new TfjsEngine();
  if (!(await findRuntime()))
    throw new Error(
      "createEngine: engine got 'onnxruntime', but onnxruntime-node is not installed. Install it with `npm install onnxruntime-node`, or use 'tfjs'.",
    );
  return new OnnxRuntimeEngine(options);
}
