import { tensor, type Tensor } from '@tensorflow/tfjs-core';
import type { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import type { Value } from './graph.js';

/** Where a session runs; which of them there are depends on the platform and on what is installed beside ONNX Runtime. */
export type Device = 'cpu' | 'webgpu' | 'cuda' | 'tensorrt' | 'coreml' | 'dml';

export interface SessionOptions {
  readonly device: Device;
  /** Threads of one operator; all cores by default. */
  readonly threads?: number;
  /** Writes ONNX Runtime's profile of every run to files that begin with this path. */
  readonly profile?: string;
}

/** A compiled graph. */
export interface Session {
  /** @param feeds by input name; those that the graph has no use for are left out */
  run(feeds: Readonly<Record<string, Tensor>>): Promise<Tensor[]>;
  release(): Promise<void>;
}

type Runtime = typeof import('onnxruntime-node');

/** ONNX Runtime, if it is installed. */
export async function findRuntime(): Promise<Runtime | undefined> {
  try {
    const runtime = (await import('onnxruntime-node')) as Runtime & { default?: Runtime };
    return runtime.default ?? runtime;
  } catch {
    return undefined;
  }
}

/**
 * Starts a session on a model.
 * @param outputs what the model's outputs are, in their order
 * @throws if ONNX Runtime is not installed, or cannot run the model on the device
 */
export async function startSession(model: Uint8Array, outputs: readonly Value[], { device, threads, profile }: SessionOptions): Promise<Session> {
  const runtime = await findRuntime();
  if (!runtime) throw new Error('OnnxRuntimeEngine: onnxruntime-node is not installed. Install it with `npm install onnxruntime-node`, or use the tfjs engine.');
  const session = await runtime.InferenceSession.create(model, {
    executionProviders: device === 'cpu' ? ['cpu'] : [device, 'cpu'],
    graphOptimizationLevel: 'all',
    ...(threads && { intraOpNumThreads: threads }),
    ...(profile && { enableProfiling: true, profileFilePrefix: profile }),
    logSeverityLevel: 3,
    // Weights lie anywhere on the disk. Packed copies of them would double their memory: a session reads them from their files.
    extra: { session: { model_external_initializers_file_folder_path: '/', disable_prepacking: '1' } },
  });
  return {
    async run(feeds) {
      const known = session.inputNames.map((name) => [name, toRuntime(runtime, feeds[name]!)] as const);
      const results = await session.run(Object.fromEntries(known));
      return session.outputNames.map((name, i) => fromRuntime(results[name]!, outputs[i]!));
    },
    async release() {
      if (profile) (session as InferenceSession).endProfiling();
      await session.release();
    },
  };
}

function toRuntime({ Tensor: Ort }: Runtime, x: Tensor): OrtTensor {
  const values = x.dataSync();
  if (x.dtype === 'bool') return new Ort('bool', Uint8Array.from(values), x.shape);
  return x.dtype === 'int32' ? new Ort('int32', values as Int32Array, x.shape) : new Ort('float32', values as Float32Array, x.shape);
}

function fromRuntime(result: OrtTensor, { shape, dtype }: Value): Tensor {
  return tensor(result.data as Float32Array, [...shape], dtype === 'int64' ? 'int32' : dtype);
}
