import { abs, div, getBackend, max, maximum, mul, tidy, type Tensor } from '@tensorflow/tfjs-core';
import { disposeFrozen, readFrozen } from '../frozen.js';
import { flattenTensors, isTensor, mapTensors, type Params, type StoredTensor } from '../params.js';
import { withProductPrecision, type Precision } from '../precision.js';
import { vjp, type Vjp } from '../vjp.js';
import type { Engine } from './engine.js';

/** Options of `TfjsEngine`. */
export interface TfjsEngineOptions {
  /**
   * The number format of matrix products and convolutions, 'float32' by default. Others need the `tensorflow` backend.
   */
  readonly precision?: Precision;
}

/** Runs model functions eagerly on the active tfjs backend. Yields to the event loop before each call. */
export class TfjsEngine implements Engine {
  readonly name = 'tfjs';
  readonly records = false;
  readonly precision: Precision;
  readonly #loaded = new Map<StoredTensor, Tensor>();
  readonly #trees = new WeakMap<object, Params>();

  /** @throws if the active backend computes in float32 only, and another precision is given */
  constructor({ precision = 'float32' }: TfjsEngineOptions = {}) {
    if (precision !== 'float32' && getBackend() !== 'tensorflow')
      throw new Error(
        `TfjsEngine: precision got '${precision}' on the backend '${getBackend()}', expected 'float32'. ` +
          "Call useBackend('tensorflow') before, or use OnnxRuntimeEngine.",
      );
    this.precision = precision;
  }

  /** The active tfjs backend. */
  get device(): string {
    return getBackend();
  }

  compile: Engine['compile'] =
    (fn) =>
    async (params, ...inputs) => {
      const loaded = await this.#load(params);
      await yieldToEvents();
      return withProductPrecision(this.precision, () => tidy(() => [fn(loaded, ...inputs)].flat() as Tensor[]));
    };

  compileVjp: Engine['compileVjp'] =
    (fn, { wrt = [] } = {}) =>
    async (params, inputs, dy) => {
      const loaded = await this.#load(params);
      await yieldToEvents();
      const run = (scaled = dy) => withProductPrecision(this.precision, () => vjp(fn, loaded, inputs, scaled, wrt));
      return this.precision === 'float16' && dy ? scaleGradients(dy, run) : run();
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

/** The largest element of the scaled output gradient. */
const start = 2 ** -4;
/** Keeps the factor finite for an output gradient of zeros. */
const tiniest = 2 ** -100;

/**
 * Loss scaling: scales `dy` so that its largest element is `start`, and unscales the gradients in float32, so that
 * float16 gradients neither underflow nor overflow. This is exact up to rounding because gradients are linear in `dy`.
 */
const scaleGradients = (dy: Tensor, run: (scaled: Tensor) => Vjp): Vjp =>
  tidy(() => {
    const largest = maximum(max(abs(dy)), tiniest);
    const unscale = (gradient: Tensor) => mul(gradient, div(largest, start));
    const { value, aux, inputs, params } = run(mul(dy, div(start, largest)));
    const unscaled = Object.entries(params).map(([path, gradient]) => [path, unscale(gradient)] as const);
    return { value, aux: [...aux], inputs: inputs.map(unscale), params: Object.fromEntries(unscaled) };
  });

/** Lets signals, timers and input be handled between two calls, each of which blocks the thread. */
const yieldToEvents = () => new Promise<void>((resolve) => setTimeout(resolve, 0));
