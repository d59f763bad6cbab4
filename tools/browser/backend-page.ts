// Runs in a browser, on the backend that the address names: `compare` says what it computes.
import { ensureBackend, OnnxRuntimeEngine, TfjsEngine, useBackend, webRuntime } from '@alignprop/autograd-ext';
import type { FileSource } from '@alignprop/autograd-ext/weights';
import { setBackend } from '@tensorflow/tfjs-core';
import type { OtherEngine } from '../../packages/autograd-ext/src/engine/onnxruntime/__fixtures__/kernel-results.js';
import { compute } from './computation.js';
import { fetchModel, report } from './fetched-model.js';
import { compareKernels } from './kernels.js';
import { references } from './references.js';

async function main(): Promise<string> {
  const { search } = (globalThis as unknown as { location: { search: string } }).location;
  const query = new URLSearchParams(search);
  const other = await engineOf(query.get('backend')!);
  await other.start();
  const files = await fetchModel();
  const start = performance.now();
  const computed = await compared(query, other, files);
  return JSON.stringify({ computed, milliseconds: performance.now() - start });
}

/** Computes the cases of kernels, a part of the reference numbers, or an image and a step. */
function compared(query: URLSearchParams, other: OtherEngine, files: FileSource): Promise<unknown> {
  const what = query.get('compare')!;
  if (what === 'kernels') return compareKernels(other, new RegExp(query.get('only') ?? ''));
  const reference = references[what];
  return reference ? reference({ fixtures: files, engine: other.engine }) : compute(files, other.engine);
}

/** The engine of a name: of a backend of tfjs, or `onnxruntime-webgpu`. */
async function engineOf(backend: string): Promise<OtherEngine> {
  if (backend === 'onnxruntime-webgpu') {
    const ort = await import('onnxruntime-web/webgpu');
    ort.env.wasm.wasmPaths = '/onnxruntime-web/';
    const engine = new OnnxRuntimeEngine({ runtime: webRuntime(ort), device: 'webgpu' });
    return { engine, start: () => useBackend('wasm') };
  }
  return {
    engine: new TfjsEngine(),
    start: async () => {
      if (!(await setBackend(backend))) throw new Error(`the backend '${backend}' does not start here`);
      await ensureBackend();
    },
  };
}

void report(main());
