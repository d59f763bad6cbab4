import type { Tensor } from '@tensorflow/tfjs-core';
import { record } from '../outside/record.js';
import { elementCount, flattenTensors, isTrainable, type Params } from '../params.js';
import type { ModelFunction } from '../vjp.js';
import type { EngineName } from './create-engine.js';
import type { CompiledVjp, Engine, SavedForward } from './engine.js';
import { measureFunction, zeroGradients, zerosOf, type FunctionMemory, type SessionMemory } from './function-memory.js';
import { sumOf } from './onnxruntime/graph/graph.js';
import { MemoryBudget } from './memory-budget.js';
import type { SavedActivations } from './onnxruntime/runtime/residual-memory.js';
import { recordFunction, specOf, type Derivative, type Spec } from './onnxruntime/recording/record-function.js';
import type { Precision } from '../precision.js';
import { layoutsOf } from './tfjs-memory.js';

export interface DryRunOptions {
  /** The engine whose memory is estimated. */
  readonly engine: EngineName;
  /** As `OnnxRuntimeEngineOptions.maxMemory`. */
  readonly maxMemory: number;
  /** As `OnnxRuntimeEngineOptions.precision`. */
  readonly precision?: Precision;
  /** Names a function in the report by its weights. */
  readonly nameOf?: (params: Params) => string;
}

/** The memory of an engine at its peak, in bytes. */
export interface EngineMemory {
  /** The function that was running at the peak, and for ONNX Runtime which part of it. */
  readonly running: string;
  /** Frozen weights: mapped from files, or in tfjs's memory together with the layouts made of them. */
  readonly weights: number;
  /** The running function's intermediate results, without `kept`. */
  readonly activations: number;
  /** Activations saved for backward, by function. */
  readonly kept: Readonly<Record<string, number>>;
  /** Copies of results that JavaScript has not freed yet. */
  readonly copies: number;
  /** Compiled graphs, and the process in which large ones run. */
  readonly sessions: number;
}

/** Bytes per node of a compiled graph: ONNX Runtime's own and JavaScript's for the recording. Measured. */
const bytesOfNode = 9e3;
/**
 * Bytes of a process for sessions beside them: Node's and ONNX Runtime's, and what malloc does not return, which was
 * 0.2 to 2 GB at the shapes of Stable Diffusion 1.5. Measured.
 */
const bytesOfProcess = 9e8;
/** Added bytes outside its heap after which JavaScript collects garbage. */
const collectedAt = 2 ** 26;

/**
 * tfjs's memory relative to the results that live: freed memory whose storage others share, and gaps. Measured on wasm.
 */
const heapFactor = 2;

/** The parts of a function that have sessions of their own. */
const parts = ['plain', 'forward', 'backward'] as const;
type Part = (typeof parts)[number];

/** The part of the memory that changes with every run. */
interface RunMemory {
  activations: number;
  copies: number;
}

/**
 * Estimates the memory of an engine. Runs nothing: records functions as the engine would, returns zeros, and adds up
 * the memory. The gradients of weights are scalars, since nobody reads them.
 */
export class DryRunEngine implements Engine {
  readonly name = 'dry-run';
  readonly device = 'none';
  readonly records = true;
  readonly precision: Precision;
  readonly #options: DryRunOptions;
  readonly #ids = new WeakMap<object, number>();
  readonly #sessions = new Map<string, readonly SessionMemory[]>();
  /** Bytes of the frozen weights in tfjs's memory. */
  readonly #loaded = new Map<object, number>();
  readonly #memory: MemoryBudget<FunctionMemory>;
  #count = 0;
  #copies = 0;
  #hasProcess = false;
  #peak: EngineMemory = { running: 'nothing', weights: 0, activations: 0, kept: {}, copies: 0, sessions: 0 };

  constructor(options: DryRunOptions) {
    this.#options = options;
    this.precision = options.precision ?? 'float32';
    this.#memory = new MemoryBudget(options.maxMemory);
  }

  /** The memory at the worst moment so far. */
  get peak(): EngineMemory {
    return this.#peak;
  }

  compile: Engine['compile'] = (fn) => {
    const cache = new Map<string, Promise<FunctionMemory>>();
    return async (params, ...inputs) => {
      const measured = await this.#measure(cache, fn, params, inputs.map(specOf));
      if (this.#options.engine === 'tfjs') this.#runEagerly(measured, params);
      else this.#run(measured, 'plain');
      return measured.outputs.map(zerosOf);
    };
  };

  compileVjp: Engine['compileVjp'] = (fn, { wrt = [] } = {}) => {
    const cache = new Map<string, Promise<FunctionMemory>>();
    const measure = async (params: Params, inputs: readonly Tensor[], dy?: Tensor) => {
      const specs = inputs.map(specOf);
      const dySpec = specOf(dy ?? recordFunction(fn, params, specs).outputs.values[0]!);
      return this.#measure(cache, fn, params, specs, { wrt, dy: dySpec });
    };
    const run = async (params: Params, inputs: readonly Tensor[], dy?: Tensor) => {
      const measured = await measure(params, inputs, dy);
      if (this.#options.engine === 'tfjs') this.#runEagerly(measured, params);
      else this.#runBoth(measured);
      const [value, ...aux] = measured.outputs.map(zerosOf) as [Tensor, ...Tensor[]];
      return { value, aux, ...zeroGradients(measured) };
    };
    const forward: CompiledVjp['forward'] = async (params, inputs) => {
      const measured = await measure(params, inputs);
      return this.#memory.canSave(measured, measured.residualBytes) ? this.#forward(measured) : undefined;
    };
    return this.#options.engine === 'tfjs' ? run : Object.assign(run, { forward });
  };

  dispose(): void {}

  /** Forgets the sessions that the engine would end. */
  #makeRoom(measured: FunctionMemory, part: Part): void {
    const { residuals } = this.#memory;
    const saved = part === 'forward' ? residuals.added(measured, measured.residualBytes) : 0;
    for (const other of this.#memory.makeRoom(measured, saved, () => false))
      parts.forEach((ended) => this.#sessions.delete(this.#keyOf(other, ended)));
  }

  #forward(measured: FunctionMemory): SavedForward {
    const saved = this.#runForward(measured);
    return {
      outputs: measured.outputs.map(zerosOf) as [Tensor],
      bytes: measured.residualBytes,
      release: () => this.#memory.residuals.release(saved),
      backward: () =>
        saved.hold(() => {
          if (saved.buffers) this.#run(measured, 'backward');
          else this.#runBoth(measured);
          return Promise.resolve(zeroGradients(measured));
        }),
    };
  }

  #runForward(measured: FunctionMemory): SavedActivations {
    this.#start(measured, 'forward');
    const saved = this.#memory.residuals.acquire(measured, measured.residualBytes, () => []);
    this.#addUp(measured, 'forward');
    return saved;
  }

  #runBoth(measured: FunctionMemory): void {
    const saved = this.#runForward(measured);
    this.#run(measured, 'backward');
    this.#memory.residuals.release(saved);
  }

  /** Bytes saved for backward, by the function's name. */
  get #residuals(): Record<string, number> {
    const residuals = record<number>();
    for (const [owner, bytes] of this.#memory.residuals.bytesByOwner) {
      const { name } = owner as FunctionMemory;
      residuals[name] = (residuals[name] ?? 0) + bytes;
    }
    return residuals;
  }

  /** Starts the sessions of a part of a function, where there is room for them. */
  #start(measured: FunctionMemory, part: Part): void {
    this.#makeRoom(measured, part);
    const key = this.#keyOf(measured, part);
    if (!this.#sessions.has(key)) this.#sessions.set(key, measured.graphs[part]());
    this.#hasProcess ||= measured.hasProcess;
  }

  #run(measured: FunctionMemory, part: Part): void {
    this.#start(measured, part);
    this.#addUp(measured, part);
  }

  /** Adds up the memory of a run of sessions that have started. */
  #addUp(measured: FunctionMemory, part: Part): void {
    const running = `${measured.name}: ${part}`;
    for (const { activations, outputs, held } of this.#sessions.get(this.#keyOf(measured, part))!) {
      if (this.#copies > collectedAt) this.#copies = 0;
      this.#updatePeak(running, { activations: activations + held, copies: this.#copies });
      this.#copies += outputs;
      this.#updatePeak(running, { activations: held, copies: this.#copies });
    }
  }

  #runEagerly(measured: FunctionMemory, params: Params): void {
    for (const leaf of Object.values(flattenTensors(params)))
      if (!isTrainable(leaf)) this.#loaded.set(leaf, layoutsOf(leaf.shape) * 4 * elementCount(leaf.shape));
    this.#updatePeak(measured.name, { activations: heapFactor * measured.tfjsPeak, copies: 0 });
  }

  #updatePeak(running: string, { activations, copies }: RunMemory): void {
    const sessions = [...this.#sessions.values()].flat();
    const sum = (of: (session: SessionMemory) => number) => sessions.reduce((total, session) => total + of(session), 0);
    const frozen = new Map([...this.#loaded, ...sessions.flatMap((session) => [...session.weights])]);
    const weights = sumOf(frozen.values()) + sum(({ folded }) => folded);
    const now: EngineMemory = {
      running,
      weights,
      activations,
      kept: this.#residuals,
      copies,
      sessions: bytesOfNode * sum(({ nodes }) => nodes) + (this.#hasProcess ? bytesOfProcess : 0),
    };
    if (totalOf(now) >= totalOf(this.#peak)) this.#peak = now;
  }

  /** Records and measures a function once for each set of shapes and weights. */
  #measure(
    cache: Map<string, Promise<FunctionMemory>>,
    fn: ModelFunction,
    params: Params,
    inputs: readonly Spec[],
    derivative?: Derivative,
  ): Promise<FunctionMemory> {
    const leaves = Object.values(flattenTensors(params)).map((leaf) => this.#id(leaf));
    const key = `${leaves.join()} ${inputs.map(({ dtype, shape }) => `${dtype}[${shape.join()}]`).join(' ')}`;
    const name = () => this.#options.nameOf?.(params) ?? (fn.name || 'function');
    const { precision } = this;
    const limit = (weights: ReadonlyMap<object, number>) => this.#memory.running(weights);
    const measured = cache.get(key) ?? measureFunction(name(), { precision, limit }, fn, params, inputs, derivative);
    cache.set(key, measured);
    return measured;
  }

  #keyOf(measured: FunctionMemory, part: Part): string {
    return `${this.#id(measured)} ${part}`;
  }

  #id(object: object): number {
    if (!this.#ids.has(object)) this.#ids.set(object, this.#count++);
    return this.#ids.get(object)!;
  }
}

/** All memory of an engine, in bytes. */
export const totalOf = ({ weights, activations, kept, copies, sessions }: EngineMemory): number =>
  weights + activations + copies + sessions + sumOf(Object.values(kept));
