// Runs in a browser: computes with the model that the server provides on the backend that the address names.
import { memory } from '@alignprop/autograd-ext/weights';
import { env, setBackend } from '@tensorflow/tfjs-core';
import { compute } from './computation.js';

async function main(): Promise<object> {
  const backend = new URLSearchParams((globalThis as unknown as { location: { search: string } }).location.search).get(
    'backend',
  )!;
  if (!(await setBackend(backend))) throw new Error(`the backend '${backend}' does not start here`);
  const paths = (await (await fetch('/model.json')).json()) as string[];
  const contents = await Promise.all(
    paths.map(async (path) => [path, new Uint8Array(await (await fetch(`/model/${path}`)).arrayBuffer())] as const),
  );
  const start = performance.now();
  const computed = await compute(memory(Object.fromEntries(contents)));
  return { computed, milliseconds: performance.now() - start, flags: env().getFlags?.() };
}

const report = (body: string) => fetch('/result', { method: 'POST', body });
main().then(
  (result) => report(JSON.stringify(result)),
  (error: unknown) => report(`error: ${String((error as Error).stack ?? error)}`),
);
