// Runs in a browser: computes with the model that the server provides on the backend that the address names.
import { env, setBackend } from '@tensorflow/tfjs-core';
import { compute } from './computation.js';
import { fetchModel, report } from './fetched-model.js';

async function main(): Promise<string> {
  const backend = new URLSearchParams((globalThis as unknown as { location: { search: string } }).location.search).get(
    'backend',
  )!;
  if (!(await setBackend(backend))) throw new Error(`the backend '${backend}' does not start here`);
  const model = await fetchModel();
  const start = performance.now();
  const computed = await compute(model);
  return JSON.stringify({ computed, milliseconds: performance.now() - start, flags: env().getFlags?.() });
}

void report(main());
