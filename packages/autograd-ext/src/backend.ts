import { enableProdMode, engine, findBackend, getBackend, ready, setBackend } from '@tensorflow/tfjs-core';
import { correctTfjs } from './register-gradients.js';

const loaders = {
  wasm: () => import('@tensorflow/tfjs-backend-wasm'),
  cpu: () => import('@tensorflow/tfjs-backend-cpu'),
};
/** A tfjs backend that this package can load. */
export type BackendName = keyof typeof loaders;
/** The names that `useBackend` takes. */
export const backendNames = Object.keys(loaders) as readonly BackendName[];

/**
 * Loads a tfjs backend and makes it the active one. `wasm` (the default) runs anywhere; `cpu` is plain JavaScript.
 * @throws if the name is unknown or the backend cannot start on this machine
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

/** Makes some backend active: keeps the one in use, else starts the best registered one, else `wasm`. */
export async function ensureBackend(): Promise<void> {
  if (getBackend()) return;
  if (Object.keys(engine().registryFactory).length > 0) await ready();
  else await useBackend();
}
