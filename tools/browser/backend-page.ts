// Runs in a browser: computes with the model that the server provides on the backend that the address names, or with
// ONNX Runtime on WebGPU.
import { OnnxRuntimeEngine, useBackend, webRuntime, type Engine } from '@alignprop/autograd-ext';
import { env, setBackend } from '@tensorflow/tfjs-core';
import { compute } from './computation.js';
import { fetchModel, report } from './fetched-model.js';

async function main(): Promise<string> {
  const backend = new URLSearchParams((globalThis as unknown as { location: { search: string } }).location.search).get(
    'backend',
  )!;
  const engine = await startEngine(backend);
  const model = await fetchModel();
  const start = performance.now();
  const computed = await compute(model, engine);
  return JSON.stringify({ computed, milliseconds: performance.now() - start, flags: env().getFlags?.() });
}

/** The engine of a name that is no backend of tfjs; else activates the backend. */
async function startEngine(backend: string): Promise<Engine | undefined> {
  if (backend === 'onnxruntime-webgpu') {
    await useBackend('wasm');
    const ort = await import('onnxruntime-web/webgpu');
    ort.env.wasm.wasmPaths = '/onnxruntime-web/';
    return new OnnxRuntimeEngine({ runtime: webRuntime(ort), device: 'webgpu' });
  }
  if (!(await setBackend(backend))) throw new Error(`the backend '${backend}' does not start here`);
  return undefined;
}

void report(main());
