import { backend } from '@tensorflow/tfjs-core';
import { OnnxRuntimeEngine, TfjsEngine, useBackend, type Engine } from '@alignprop/autograd-ext';

/** Something that runs model functions, and the memory that it holds beside JavaScript's. */
export interface BenchEngine {
  readonly engine: Engine;
  /** Size of its heap now; undefined where it has none of its own. */
  heapBytes(): number | undefined;
}

/** A new engine is one entry here. */
export const engines: Readonly<Record<string, (threads?: number) => Promise<BenchEngine>>> = {
  onnxruntime: async (threads) => {
    await useBackend('wasm');
    return { engine: new OnnxRuntimeEngine({ threads }), heapBytes: () => undefined };
  },
  // The same without keeping what the walk down computes.
  'onnxruntime-recompute': async (threads) => {
    await useBackend('wasm');
    return { engine: new OnnxRuntimeEngine({ threads, maxMemory: 0 }), heapBytes: () => undefined };
  },
  wasm: async () => {
    await useBackend('wasm');
    const { wasm } = backend() as unknown as { wasm: { HEAPU8: Uint8Array } };
    return { engine: new TfjsEngine(), heapBytes: () => wasm.HEAPU8.byteLength };
  },
  cpu: async () => {
    await useBackend('cpu');
    return { engine: new TfjsEngine(), heapBytes: () => undefined };
  },
};
