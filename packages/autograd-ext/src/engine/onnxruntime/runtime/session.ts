import { tensor, Tensor } from '@tensorflow/tfjs-core';
import type { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import { outputName } from '../graph/encode.js';
import { tensorType, type Value } from '../graph/graph.js';
import { elementCount } from '../../../params.js';
import { findRuntime, type Runtime } from './onnx-runtime.js';

/** The devices of sessions. Which ones exist depends on the platform and on the installed libraries. */
export const devices = ['cpu', 'webgpu', 'cuda', 'tensorrt', 'coreml', 'dml'] as const;
export type Device = (typeof devices)[number];

/** Bytes of a graph's weights up to which `relayout` is used by default. */
export const relayoutLimit = 2 ** 28;

export interface SessionOptions {
  readonly device: Device;
  /** Threads per operator; all cores by default. */
  readonly threads?: number;
  /** Rearranges the weights of convolutions: a tenth faster, but needs a second copy of them and time to start. */
  readonly relayout?: boolean;
  /** Writes ONNX Runtime's profile of every run to files whose names begin with this path. */
  readonly profile?: string;
}

/** Memory that one session writes an output to and another reads as an input. */
export type OutputBuffer = OrtTensor;

/** Inputs by name. A session ignores those that its graph does not use. */
export type Feeds = Readonly<Record<string, Tensor | OutputBuffer>>;

/** A compiled graph. */
export interface Session {
  /**
   * Runs the graph and returns its outputs, which belong to the caller.
   * @param into buffers that receive the last outputs, which are then not returned
   */
  run(feeds: Feeds, into?: readonly OutputBuffer[]): Promise<Tensor[]>;
  /** Allocates buffers for the outputs from index `first` on. */
  allocateOutputs(first: number): readonly OutputBuffer[];
  release(): Promise<void>;
}

/**
 * Starts a session.
 * @param model an ONNX file
 * @param outputs the model's outputs, in order
 * @throws if ONNX Runtime is not installed or does not load, or cannot run the model on the device
 */
export async function startSession(
  model: Uint8Array,
  outputs: readonly Value[],
  { device, threads, profile, relayout = false }: SessionOptions,
): Promise<Session> {
  const { runtime, problem } = await findRuntime();
  if (!runtime) throw new Error(`OnnxRuntimeEngine: ${problem.reason}. ${problem.remedy}\nOr use the tfjs engine.`);
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
      const fetches = [...returned.map((value) => allocate(runtime, value)), ...into];
      await session.run(
        Object.fromEntries(inputs),
        Object.fromEntries(fetches.map((tensor, i) => [outputName(i), tensor])),
      );
      if (fetches.reduce((bytes, { data }) => bytes + (data as Float32Array).byteLength, 0) >= worthCollecting)
        await collectGarbage();
      return returned.map((value, i) => fromRuntime(fetches[i]!, value));
    },
    allocateOutputs: (first) => outputs.slice(first).map((value) => allocate(runtime, value)),
    async release() {
      if (profile) (session as InferenceSession).endProfiling();
      await session.release();
    },
  };
}

function toRuntime({ Tensor: Ort }: Runtime, x: Tensor | OutputBuffer): OrtTensor {
  if (!(x instanceof Tensor)) return x;
  const values = x.dataSync();
  if (x.dtype === 'bool') return new Ort('bool', Uint8Array.from(values), x.shape);
  if (x.dtype === 'int32') return new Ort('int32', values as Int32Array, x.shape);
  // tfjs's cpu backend does not convert the values of a cast tensor.
  return new Ort('float32', values instanceof Float32Array ? values : Float32Array.from(values), x.shape);
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

function fromRuntime(result: OrtTensor, { shape, dtype }: Value): Tensor {
  return tensor(result.data as Float32Array, [...shape], tensorType(dtype));
}

/** The free memory of the machine, in bytes. */
export async function freeMemory(): Promise<number> {
  const { freemem } = await import('node:os');
  return freemem();
}
