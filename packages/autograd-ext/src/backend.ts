import { enableProdMode, engine, findBackend, getBackend, ready, setBackend } from '@tensorflow/tfjs-core';
import { correctTfjs } from './register-gradients.js';

const loaders = {
  wasm: () => import('@tensorflow/tfjs-backend-wasm'),
  cpu: () => import('@tensorflow/tfjs-backend-cpu'),
};
export type BackendName = keyof typeof loaders;
export const backendNames = Object.keys(loaders) as readonly BackendName[];

/**
 * Loads a tfjs backend and makes it the active one. `wasm` (the default) runs anywhere; `cpu` is plain JavaScript.
 * @throws if the name is unknown or the backend cannot start here
 */
export async function useBackend(name: BackendName = 'wasm'): Promise<void> {
  const load = loaders[name];
  if (!load) throw new Error(`useBackend: backend got '${name}', expected one of ${backendNames.join(', ')}.`);
  if (getBackend() === name) return correctTfjs();
  enableProdMode();
  if (!findBackend(name)) await load();
  correctTfjs();
  if (!(await setBackend(name)))
    throw new Error(`useBackend: the '${name}' backend did not start. Try another of ${backendNames.join(', ')}.`);
}

/** Makes sure that some backend is active: the one in use, else the best that the program registered, else `wasm`. */
export async function ensureBackend(): Promise<void> {
  if (getBackend()) return;
  if (Object.keys(engine().registryFactory).length > 0) await ready();
  else await useBackend();
}
