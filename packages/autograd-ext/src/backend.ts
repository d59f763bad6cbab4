import { enableProdMode, engine, findBackend, getBackend, ready, setBackend } from '@tensorflow/tfjs-core';
import { correctTfjs } from './register-gradients.js';
import { loadTensorflow } from './tensorflow.js';
import { loadWasmBackend, wasmAdvice } from './wasm-backend.js';

const loaders = {
  wasm: loadWasmBackend,
  // Typed as unknown: the type of the module has imports that `module: node16` does not resolve.
  cpu: (): Promise<unknown> => import('@tensorflow/tfjs-backend-cpu'),
  tensorflow: loadTensorflow,
};
/** A tfjs backend that this package can load. */
export type BackendName = keyof typeof loaders;
/** The names that `useBackend` takes. */
export const backendNames = Object.keys(loaders) as readonly BackendName[];

/** Options of `useBackend`. */
export interface BackendOptions {
  /**
   * The number of threads of an operator, of the backend `tensorflow` alone; all cores by default. TensorFlow reads it
   * when it starts, once in a process.
   */
  readonly threads?: number;
}

/** The latest activation: the next one waits for it, since tfjs fails one that another overtakes. */
let activation: Promise<void> = Promise.resolve();

/**
 * Loads a tfjs backend and makes it the active one. `wasm` (the default) runs anywhere; `cpu` is plain JavaScript;
 * `tensorflow` is native TensorFlow, of @tensorflow/tfjs-node-gpu or @tensorflow/tfjs-node.
 * Calls made at the same time run one after the other.
 * @throws if the name is unknown, the backend cannot start on this machine, or it cannot have that many threads
 */
export function useBackend(name: BackendName = 'wasm', options: BackendOptions = {}): Promise<void> {
  return inTurn(() => activate(name, options));
}

/**
 * Makes some backend active: keeps the one in use, else starts the best one that the program has registered, else
 * `wasm`. A registered `cpu` does not count: in Node, importing `@tensorflow/tfjs` registers that one alone.
 */
export function ensureBackend(): Promise<void> {
  return inTurn(async () => {
    if (getBackend()) return correctTfjs();
    const registered = Object.keys(engine().registryFactory).some((name) => name !== 'cpu');
    if (!registered) return activate('wasm');
    await ready();
    correctTfjs();
  });
}

function inTurn(activate: () => Promise<void>): Promise<void> {
  const result = activation.then(() => withoutHandlers(activate));
  activation = result.catch(() => {}); // the caller gets the error; the next activation starts anyway
  return result;
}

async function activate(name: BackendName, { threads }: BackendOptions = {}): Promise<void> {
  const load = loaders[name];
  if (!load) throw new Error(`useBackend: backend got '${name}', expected one of ${backendNames.join(', ')}.`);
  if (threads !== undefined) checkThreads(name, threads);
  if (getBackend() === name) return correctTfjs();
  enableProdMode();
  if (!findBackend(name)) await load(threads);
  correctTfjs();
  if (!(await setBackend(name))) throw new Error(`useBackend: the '${name}' backend did not start. ${advice(name)}`);
}

/** The threads that TensorFlow was started with. */
let threadsOfTensorflow: number | undefined;

/** @throws if the backend takes no number of threads, or runs with another one */
function checkThreads(name: BackendName, threads: number): void {
  if (name !== 'tensorflow')
    throw new Error(
      `useBackend: threads got ${threads} for the backend '${name}', expected none: only tensorflow has.`,
    );
  if (!Number.isInteger(threads) || threads < 1)
    throw new Error(`useBackend: threads got ${threads}, expected an integer of at least 1.`);
  if (findBackend(name) && threads !== threadsOfTensorflow)
    throw new Error(
      `useBackend: threads got ${threads}, but TensorFlow runs with ${threadsOfTensorflow ?? 'its default'}. ` +
        'Give threads where the process starts the backend first.',
    );
  threadsOfTensorflow = threads;
}

const advice = (name: BackendName): string =>
  name === 'wasm' ? wasmAdvice : `Try another of ${backendNames.join(', ')}.`;

const events = ['uncaughtException', 'unhandledRejection'] as const;

/**
 * Removes the handlers that the start of tfjs's wasm backend adds to the process in Node: they throw what they get, and
 * so take uncaught errors away from the program.
 */
async function withoutHandlers(start: () => Promise<void>): Promise<void> {
  if (typeof process === 'undefined' || typeof process.listeners !== 'function') return start();
  const host: NodeJS.EventEmitter = process;
  const before = events.map((event) => host.listeners(event));
  try {
    await start();
  } finally {
    events.forEach((event, i) => {
      for (const listener of host.listeners(event) as (() => void)[])
        if (!before[i]!.includes(listener) && rethrows(listener)) host.off(event, listener);
    });
  }
}

/** Whether a handler is one of emscripten's: `function (reason) { throw reason; }`, or the same for all but exits. */
const rethrows = (listener: () => void): boolean =>
  /^function ?\((\w+)\) ?\{\s*(?:if \(!\(\1 instanceof ExitStatus\)\) ?\{\s*)?throw \1;?\s*\}\s*\}?$/.test(
    String(listener),
  );
