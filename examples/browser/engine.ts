import { dispose, ones, type Tensor3D } from '@tensorflow/tfjs-core';
import {
  OnnxRuntimeEngine,
  scaledDotProductAttention,
  TfjsEngine,
  useBackend,
  webRuntime,
  type Engine,
} from '@alignprop/autograd-ext';
import wasm from 'onnxruntime-web/ort-wasm-simd-threaded.wasm?url';
import wasmOfGpu from 'onnxruntime-web/ort-wasm-simd-threaded.asyncify.wasm?url';

/** An engine, and why it is not a faster one; '' if it is the one that was asked for. */
export interface FoundEngine {
  readonly engine: Engine;
  readonly remark: string;
}

/** The engines from the fastest to the one that runs everywhere. The first did not run on a real GPU yet. */
const engines: readonly (readonly [name: string, start: () => Promise<Engine>])[] = [
  ['webgpu', startOnWebGpu],
  ['onnxruntime', startOnThreads],
  ['tfjs', () => Promise.resolve(new TfjsEngine())],
];

/**
 * Starts an engine, or where it does not work the next slower one.
 * @param name `webgpu`, `onnxruntime` or `tfjs`
 * @throws if no engine has this name
 */
export async function findEngine(name = 'onnxruntime'): Promise<FoundEngine> {
  await useBackend('wasm'); // holds the tensors before and after a call
  const first = engines.findIndex(([known]) => known === name);
  if (first < 0)
    throw new Error(`engine got '${name}', expected one of ${engines.map(([known]) => known).join(', ')}.`);
  const remarks: string[] = [];
  for (const [candidate, start] of engines.slice(first))
    try {
      return { engine: await start(), remark: remarks.join(' ') };
    } catch (error) {
      remarks.push(`${candidate}: ${(error as Error).message}`);
    }
  throw new Error(`No engine works here. ${remarks.join(' ')}`);
}

/** ONNX Runtime in WebAssembly; on one thread tfjs is faster. @throws if there are no threads */
async function startOnThreads(): Promise<Engine> {
  if (!crossOriginIsolated) throw new Error('WebAssembly has no threads, since the page is not cross-origin isolated.');
  if (navigator.hardwareConcurrency < 2) throw new Error('there is one processor, so that it has no threads.');
  const ort = await import('onnxruntime-web/wasm'); // a chunk of its own, which the threads load as well
  ort.env.wasm.wasmPaths = { wasm };
  ort.env.wasm.numThreads = navigator.hardwareConcurrency;
  return tried(new OnnxRuntimeEngine({ runtime: webRuntime(ort) }));
}

/** ONNX Runtime on the GPU. @throws if there is none */
async function startOnWebGpu(): Promise<Engine> {
  const { gpu } = navigator as { gpu?: { requestAdapter(): Promise<object | null> } };
  if (!(await gpu?.requestAdapter())) throw new Error('there is no GPU for WebGPU.');
  const ort = await import('onnxruntime-web/webgpu');
  ort.env.wasm.wasmPaths = { wasm: wasmOfGpu };
  return tried(new OnnxRuntimeEngine({ runtime: webRuntime(ort), device: 'webgpu' }));
}

/** Computes attention, which an engine on a GPU compares with its CPU. @throws if the engine does not compute it */
async function tried(engine: Engine): Promise<Engine> {
  const x = ones([1, 4, 8]);
  const attend = engine.compile((_, q) =>
    scaledDotProductAttention(q as Tensor3D, q as Tensor3D, q as Tensor3D, { heads: 2 }),
  );
  dispose([x, ...(await attend({}, x))]);
  return engine;
}
