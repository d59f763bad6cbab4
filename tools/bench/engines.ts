import { backend } from '@tensorflow/tfjs-core';
import {
  devices,
  OnnxRuntimeEngine,
  TfjsEngine,
  useBackend,
  type Device,
  type Engine,
  type Precision,
} from '@alignprop/autograd-ext';

/** An engine, and the size of the heap it has beside JavaScript's. */
export interface BenchEngine {
  readonly engine: Engine;
  /** Current size of the engine's heap; undefined where it has none. */
  heapBytes(): number | undefined;
}

/** Options of ONNX Runtime's engine. */
interface Limits {
  readonly threads?: number;
  /** In bytes. */
  readonly maxMemory?: number;
}

/** The engines that can be measured; a new one is one entry here. */
export const engines: Readonly<Record<string, (limits: Limits) => Promise<BenchEngine>>> = {
  onnxruntime: async (limits) => {
    await useBackend('wasm');
    return { engine: new OnnxRuntimeEngine(limits), heapBytes: () => undefined };
  },
  // Recomputes activations on the walk up instead of saving them.
  'onnxruntime-recompute': async ({ threads }) => {
    await useBackend('wasm');
    return { engine: new OnnxRuntimeEngine({ threads, maxMemory: 0 }), heapBytes: () => undefined };
  },
  ...Object.fromEntries(devices.filter((device) => device !== 'cpu').flatMap(onDevice)),
  wasm: async () => {
    await useBackend('wasm');
    const { wasm } = backend() as unknown as { wasm: { HEAPU8: Uint8Array } };
    return { engine: new TfjsEngine(), heapBytes: () => wasm.HEAPU8.byteLength };
  },
  tensorflow: () => tensorflow('float32'),
  'tensorflow-float16': () => tensorflow('float16'),
  'tensorflow-bfloat16': () => tensorflow('bfloat16'),
  cpu: async () => {
    await useBackend('cpu');
    return { engine: new TfjsEngine(), heapBytes: () => undefined };
  },
};

/** `onnxruntime-cuda` and `onnxruntime-cuda-float16`. */
function onDevice(device: Device): readonly [string, () => Promise<BenchEngine>][] {
  const start = (precision: 'float32' | 'float16') => async (): Promise<BenchEngine> => {
    await useBackend('wasm');
    return { engine: new OnnxRuntimeEngine({ device, precision }), heapBytes: () => undefined };
  };
  return [
    [`onnxruntime-${device}`, start('float32')],
    [`onnxruntime-${device}-float16`, start('float16')],
  ];
}

async function tensorflow(precision: Precision): Promise<BenchEngine> {
  await useBackend('tensorflow');
  return { engine: new TfjsEngine({ precision }), heapBytes: () => undefined };
}
