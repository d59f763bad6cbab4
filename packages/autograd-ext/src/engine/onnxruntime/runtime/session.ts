import { tensor, Tensor } from '@tensorflow/tfjs-core';
import type * as OnnxRuntime from 'onnxruntime-node';
import type { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import { outputName } from '../graph/encode.js';
import { tensorType, type Value } from '../graph/graph.js';
import { elementCount } from '../../../params.js';

/**
 * Where a session runs; which of them there are depends on the platform and on what is installed beside ONNX Runtime.
 */
export const devices = ['cpu', 'webgpu', 'cuda', 'tensorrt', 'coreml', 'dml'] as const;
export type Device = (typeof devices)[number];

export interface SessionOptions {
  readonly device: Device;
  /** Threads of one operator; all cores by default. */
  readonly threads?: number;
  /**
   * Lays the weights of convolutions out anew: a tenth faster, but it takes a second copy of them, and time to start.
   */
  readonly relayout?: boolean;
  /** Writes ONNX Runtime's profile of every run to files that begin with this path. */
  readonly profile?: string;
}

/** Memory that one session writes an output to, to be fed to another. */
export type Held = OrtTensor;

/** By input name; those that a graph has no use for are left out. */
export type Feeds = Readonly<Record<string, Tensor | Held>>;

/** A compiled graph. */
export interface Session {
  /** @param into what takes the last outputs; the others are returned */
  run(feeds: Feeds, into?: readonly Held[]): Promise<Tensor[]>;
  /** Memory for the outputs from the `first` on. */
  hold(first: number): readonly Held[];
  release(): Promise<void>;
}

type Runtime = typeof OnnxRuntime;

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
export async function startSession(
  model: Uint8Array,
  outputs: readonly Value[],
  { device, threads, profile, relayout = false }: SessionOptions,
): Promise<Session> {
  const runtime = await findRuntime();
  if (!runtime)
    throw new Error(
      'OnnxRuntimeEngine: onnxruntime-node is not installed. ' +
        'Install it with `npm install onnxruntime-node`, or use the tfjs engine.',
    );
  const session = await runtime.InferenceSession.create(model, {
    executionProviders: device === 'cpu' ? ['cpu'] : [device, 'cpu'],
    graphOptimizationLevel: relayout ? 'all' : 'extended',
    // An arena keeps what it once had, and a plan of all memory comes on top of it; the system gives and takes large
    // blocks as fast.
    enableMemPattern: false,
    enableCpuMemArena: false,
    ...(threads && { intraOpNumThreads: threads }),
    ...(profile && { enableProfiling: true, profileFilePrefix: profile }),
    logSeverityLevel: 3,
    // Weights lie anywhere on the disk. Packed copies of them would double their memory: a session reads them from
    // their files.
    extra: { session: { model_external_initializers_file_folder_path: '/', disable_prepacking: '1' } },
  });
  return {
    async run(feeds, into = []) {
      const known = session.inputNames.map((name) => [name, toRuntime(runtime, feeds[name]!)] as const);
      const returned = outputs.slice(0, outputs.length - into.length);
      const fetches = [...returned.map((value) => allocate(runtime, value)), ...into];
      await session.run(
        Object.fromEntries(known),
        Object.fromEntries(fetches.map((tensor, i) => [outputName(i), tensor])),
      );
      if (fetches.reduce((bytes, { data }) => bytes + (data as Float32Array).byteLength, 0) >= worthCollecting)
        await collectGarbage();
      return returned.map((value, i) => fromRuntime(fetches[i]!, value));
    },
    hold: (first) => outputs.slice(first).map((value) => allocate(runtime, value)),
    async release() {
      if (profile) (session as InferenceSession).endProfiling();
      await session.release();
    },
  };
}

function toRuntime({ Tensor: Ort }: Runtime, x: Tensor | Held): OrtTensor {
  if (!(x instanceof Tensor)) return x;
  const values = x.dataSync();
  if (x.dtype === 'bool') return new Ort('bool', Uint8Array.from(values), x.shape);
  if (x.dtype === 'int32') return new Ort('int32', values as Int32Array, x.shape);
  // The cpu backend keeps a cast tensor's values as they were.
  return new Ort('float32', values instanceof Float32Array ? values : Float32Array.from(values), x.shape);
}

/** Bytes. */
const worthCollecting = 2 ** 28;

/**
 * Frees the copies of outputs that ONNX Runtime's Node binding returns even where it was given memory for them:
 * JavaScript, on whose heap they are small, would let some of them pile up.
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
  const made = new Ort(dtype, data as never, shape);
  // From Node 24 on the class takes the same memory as a Float16Array, which the binding does not know.
  return dtype === 'float16' ? Object.assign(made, { cpuData: data }) : made;
}

function fromRuntime(result: OrtTensor, { shape, dtype }: Value): Tensor {
  return tensor(result.data as Float32Array, [...shape], tensorType(dtype));
}

/** Bytes of memory that nobody uses. */
export async function freeMemory(): Promise<number> {
  const { freemem } = await import('node:os');
  return freemem();
}
