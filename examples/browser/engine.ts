import { add, dispose, ones } from '@tensorflow/tfjs-core';
import { OnnxRuntimeEngine, TfjsEngine, useBackend, webRuntime, type Engine } from '@alignprop/autograd-ext';
import wasm from 'onnxruntime-web/ort-wasm-simd-threaded.wasm?url';

/** An engine, and why it is not the faster one. */
export interface FoundEngine {
  readonly engine: Engine;
  readonly remark?: string;
}

/**
 * Starts ONNX Runtime in WebAssembly where it has several threads, else tfjs, which is faster on one.
 * @param name the engine that the user asks for: `onnxruntime` or `tfjs`
 */
export async function findEngine(name: string | undefined): Promise<FoundEngine> {
  await useBackend('wasm');
  const hasThreads = crossOriginIsolated && navigator.hardwareConcurrency > 1;
  if (name === 'tfjs') return { engine: new TfjsEngine() };
  if (name === undefined && !hasThreads)
    return { engine: new TfjsEngine(), remark: 'WebAssembly has no threads here.' };
  try {
    return { engine: await startOnnxRuntime() };
  } catch (error) {
    return { engine: new TfjsEngine(), remark: `ONNX Runtime does not work here: ${(error as Error).message}` };
  }
}

/** @throws if ONNX Runtime cannot be loaded, or does not compute */
async function startOnnxRuntime(): Promise<Engine> {
  const ort = await import('onnxruntime-web/wasm'); // a chunk of its own, which the threads load as well
  ort.env.wasm.wasmPaths = { wasm };
  ort.env.wasm.numThreads = navigator.hardwareConcurrency;
  const engine = new OnnxRuntimeEngine({ runtime: webRuntime(ort) });
  const one = ones([1]);
  dispose([one, ...(await engine.compile((_, x) => add(x!, x!))({}, one))]);
  return engine;
}
