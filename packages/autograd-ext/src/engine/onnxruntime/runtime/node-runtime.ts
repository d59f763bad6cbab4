import { Tensor } from '@tensorflow/tfjs-core';
import type { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import { outputName } from '../graph/encode.js';
import type { Value } from '../graph/graph.js';
import { elementCount } from '../../../params.js';
import { findRuntime, type Runtime } from './onnx-runtime.js';
import type { OnnxRuntime } from './runtime.js';
import {
  tensorOf,
  valueOf,
  type OutputBuffer,
  type Session,
  type SessionGraph,
  type SessionOptions,
} from './session.js';
import { WeightFiles } from './weight-files.js';

/** ONNX Runtime in Node: the package onnxruntime-node, which maps the weights from files. */
export const nodeRuntime: OnnxRuntime = {
  startSession,
  createWeights: () => new WeightFiles(),
  async freeMemory() {
    const { freemem } = await import('node:os');
    return freemem();
  },
};

async function startSession(
  { model, outputs }: SessionGraph,
  { device, threads, profile, relayout = false }: SessionOptions,
): Promise<Session> {
  const { runtime, problem } = await findRuntime();
  if (!runtime) throw new Error(`OnnxRuntimeEngine: ${problem.reason}. ${problem.remedy}\nOr use the tfjs engine.`);
  // ONNX Runtime ignores devices that it was not built with, and runs on the CPU.
  const supported = runtime.listSupportedBackends().map(({ name }) => name);
  if (!supported.includes(device))
    throw new Error(`device got '${device}', expected one that onnxruntime-node has here: ${supported.join(', ')}.`);
  const session = await runtime.InferenceSession.create(model, {
    executionProviders: device === 'cpu' ? ['cpu'] : [device, 'cpu'],
    graphOptimizationLevel: relayout ? 'all' : 'extended',
    // An arena never returns memory, and the memory pattern allocates on top of it. The system allocates and frees
    // large blocks just as fast.
    enableMemPattern: false,
    enableCpuMemArena: false,
    ...(threads && { intraOpNumThreads: threads }),
    ...(profile && { enableProfiling: true, profileFilePrefix: profile }),
    logSeverityLevel: 3,
    // Weights may be anywhere on the disk, and are mapped from their files. Prepacked copies would double their memory.
    extra: { session: { model_external_initializers_file_folder_path: '/', disable_prepacking: '1' } },
  });
  return {
    async run(feeds, into = []) {
      const inputs = session.inputNames.map((name) => [name, toRuntime(runtime, feeds[name]!)] as const);
      const returned = outputs.slice(0, outputs.length - into.length);
      const fetches = [...returned.map((value) => allocate(runtime, value)), ...(into as readonly OrtTensor[])];
      await session.run(
        Object.fromEntries(inputs),
        Object.fromEntries(fetches.map((tensor, i) => [outputName(i), tensor])),
      );
      if (fetches.reduce((bytes, { data }) => bytes + (data as Float32Array).byteLength, 0) >= worthCollecting)
        await collectGarbage();
      return returned.map((value, i) => tensorOf(fetches[i]!.data, value));
    },
    allocateOutputs: (first) => outputs.slice(first).map((value) => allocate(runtime, value)),
    async release() {
      if (profile) (session as InferenceSession).endProfiling();
      await session.release();
    },
  };
}

function toRuntime({ Tensor: Ort }: Runtime, x: Tensor | OutputBuffer): OrtTensor {
  if (!(x instanceof Tensor)) return x as OrtTensor;
  const { dtype, data, shape } = valueOf(x);
  return new Ort(dtype, data as never, shape);
}

/** Bytes of outputs from which on a run collects garbage. */
const worthCollecting = 2 ** 28;

/**
 * Frees the copies of outputs that ONNX Runtime's Node binding makes even if it is given buffers. They are small on
 * JavaScript's heap, so the garbage collector would let several of them accumulate.
 */
async function collectGarbage(): Promise<void> {
  const [{ setFlagsFromString }, { runInNewContext }] = await Promise.all([import('node:v8'), import('node:vm')]);
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
}

const arrays = {
  float32: Float32Array,
  float16: Uint16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  bool: Uint8Array,
} as const;

function allocate({ Tensor: Ort }: Runtime, { shape, dtype }: Value): OrtTensor {
  const data = new arrays[dtype](elementCount(shape));
  const allocated = new Ort(dtype, data as never, shape);
  // From Node 24 on, the class wraps the memory in a Float16Array, which the binding rejects.
  return dtype === 'float16' ? Object.assign(allocated, { cpuData: data }) : allocated;
}
