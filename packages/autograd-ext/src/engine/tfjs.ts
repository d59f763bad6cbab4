import { getBackend, tidy, type Tensor } from '@tensorflow/tfjs-core';
import { disposeFrozen, readFrozen } from '../frozen.js';
import { flattenTensors, isTensor, mapTensors, type Params, type StoredTensor } from '../params.js';
import { vjp } from '../vjp.js';
import type { Engine } from './engine.js';

/** Runs model functions eagerly on the active tfjs backend. Yields to the event loop before each call. */
export class TfjsEngine implements Engine {
  readonly name = 'tfjs';
  readonly records = false;
  readonly precision = 'float32';
  readonly #loaded = new Map<StoredTensor, Tensor>();
  readonly #trees = new WeakMap<object, Params>();

  /** The active tfjs backend. */
  get device(): string {
    return getBackend();
  }

  compile: Engine['compile'] =
    (fn) =>
    async (params, ...inputs) => {
      const loaded = await this.#load(params);
      await yieldToEvents();
      return tidy(() => [fn(loaded, ...inputs)].flat() as Tensor[]);
    };

  compileVjp: Engine['compileVjp'] =
    (fn, { wrt = [] } = {}) =>
    async (params, inputs, dy) => {
      const loaded = await this.#load(params);
      await yieldToEvents();
      return vjp(fn, loaded, inputs, dy, wrt);
    };

  /** Frees the weights read from files and everything derived from them. The next call reads them again. */
  dispose(): void {
    this.#loaded.forEach(disposeFrozen);
    this.#loaded.clear();
  }

  /** Replaces the weights that are still in files by tensors; reads each of them once. */
  async #load(params: Params): Promise<Params> {
    const stored = Object.values(flattenTensors(params)).filter((leaf): leaf is StoredTensor => !isTensor(leaf));
    if (stored.every((leaf) => this.#loaded.has(leaf)) && this.#trees.has(params)) return this.#trees.get(params)!;
    for (const leaf of stored) if (!this.#loaded.has(leaf)) this.#loaded.set(leaf, await readFrozen(leaf));
    const tree = mapTensors(params, (_, leaf) => (isTensor(leaf) ? leaf : this.#loaded.get(leaf)!));
    this.#trees.set(params, tree);
    return tree;
  }
}

/** Lets signals, timers and input be handled between two calls, each of which blocks the thread. */
const yieldToEvents = () => new Promise<void>((resolve) => setTimeout(resolve, 0));
