import { checkOptions } from '../../check-options.js';
import { clone, dispose, ones, type Tensor } from '@tensorflow/tfjs-core';
import { flatten, isTrainable, type Params } from '../../params.js';
import type { ModelFunction } from '../../vjp.js';
import type { CompiledVjp, Engine, SavedForward } from '../engine.js';
import { MemoryBudget, processBytes } from '../memory-budget.js';
import type { Precision } from '../../precision.js';
import { onnxRuntimeOptionNames, type OnnxRuntimeEngineOptions } from './options.js';
import { attend, canAttend } from './runtime/device-faults.js';
import { nodeRuntime } from './runtime/node-runtime.js';
import { isWorthProcess, processRuntime } from './runtime/process-runtime.js';
import { Program } from './runtime/program.js';
import {
  recordFunction,
  specOf,
  type Derivative,
  type RecordedFunction,
  type Spec,
} from './recording/record-function.js';
import type { OnnxRuntime, WeightStore } from './runtime/runtime.js';
import type { Device } from './runtime/session.js';

/** A function to compile, and its programs by shapes and weights. */
interface Source {
  readonly fn: ModelFunction;
  readonly refresh: boolean;
  readonly programs: Map<string, Program>;
}

/**
 * Records each model function once per set of shapes, or at every call (`refresh`), and runs the graph with ONNX
 * Runtime.
 *
 * Float32 weights in files are mapped in place, and so are those in float16 and bfloat16 of large models, which are
 * widened where they are used; other weights are first written to a temporary file as float32. With
 * `precision: 'float16'`, the weights of matrix products are mapped in place if the file has float16, and else written
 * as float16. A program is reused for the same frozen leaves and stand-ins: create these once, not for every call.
 */
export class OnnxRuntimeEngine implements Engine {
  readonly name = 'onnxruntime';
  readonly records = true;
  readonly device: Device;
  readonly precision: Precision;
  readonly #options: OnnxRuntimeEngineOptions;
  readonly #runtime: OnnxRuntime;
  readonly #weights: WeightStore;
  readonly #programs = new Set<Program>();
  /** The number of runs of each program that have not ended. */
  readonly #runs = new Map<Program, number>();
  readonly #ids = new WeakMap<object, number>();
  readonly #weightKeys = new WeakMap<object, string>();
  readonly #memory: MemoryBudget<Program>;
  #count = 0;
  #attends: Promise<boolean> | undefined;

  /** @throws if an option has another name, the precision is 'bfloat16', or a runtime is to have its own process */
  constructor(options: OnnxRuntimeEngineOptions = {}) {
    checkOptions('OnnxRuntimeEngine', options, onnxRuntimeOptionNames);
    if ((options.precision as Precision) === 'bfloat16')
      throw new Error("OnnxRuntimeEngine: precision got 'bfloat16', expected 'float32' or 'float16'.");
    if (options.ownProcess && options.runtime)
      throw new Error('OnnxRuntimeEngine: ownProcess got true with a runtime, expected one of them. Leave one out.');
    this.#options = options;
    this.#runtime = options.runtime ?? nodeRuntime;
    this.#weights = this.#runtime.createWeights();
    this.#memory = new MemoryBudget(options.maxMemory);
    this.device = options.device ?? 'cpu';
    this.precision = options.precision ?? 'float32';
  }

  compile: Engine['compile'] = (fn, { refresh = false } = {}) => {
    const source: Source = { fn, refresh, programs: new Map() };
    return async (params, ...inputs) => {
      const program = this.#program(source, params, inputs);
      return this.#use(program, () => program.run(params, inputs));
    };
  };

  compileVjp: Engine['compileVjp'] = (fn, { wrt = [], refresh = false } = {}) => {
    const source: Source = { fn, refresh, programs: new Map() };
    const shapes = new Map<string, readonly number[]>();
    const outputShape = (params: Params, inputs: readonly Tensor[]) => {
      const key = this.#key(params, inputs);
      if (!shapes.has(key)) shapes.set(key, recordFunction(fn, params, inputs.map(specOf)).outputs.values[0]!.shape);
      return shapes.get(key)!;
    };
    const program = (params: Params, inputs: readonly Tensor[], dy: Spec) =>
      this.#program(source, params, inputs, { wrt, dy });
    const run = async (params: Params, inputs: readonly Tensor[], dy?: Tensor) => {
      const gradient = dy ?? ones([...outputShape(params, inputs)]);
      await this.#findMemory();
      try {
        const found = program(params, inputs, specOf(gradient));
        const saved = this.#memory.residuals.added(found, found.residualBytes);
        return await this.#use(found, () => found.vjp(params, inputs, gradient), saved);
      } finally {
        if (!dy) gradient.dispose();
      }
    };
    const forward: CompiledVjp['forward'] = async (params, inputs) => {
      await this.#findMemory();
      const dy: Spec = { shape: outputShape(params, inputs), dtype: 'float32' };
      return this.#forward(program(params, inputs, dy), params, inputs);
    };
    return Object.assign(run, { forward });
  };

  /** Ends all sessions and deletes the temporary file. Compiled functions compile again on their next call. */
  dispose(): void {
    for (const program of this.#programs) {
      this.#forget(program);
      void program.dispose();
    }
    void this.#weights.dispose();
  }

  /**
   * Runs a program, and ends the sessions of others first where memory is short.
   * @param saved bytes of the activations that it saves in new memory
   */
  async #use<T>(program: Program, run: () => Promise<T>, saved = 0): Promise<T> {
    this.#runs.set(program, (this.#runs.get(program) ?? 0) + 1);
    try {
      const crowding = this.#memory.makeRoom(program, saved, (other) => this.#runs.has(other));
      for (const other of crowding) await other.rest();
      return await run();
    } finally {
      const others = this.#runs.get(program)! - 1;
      if (others > 0) this.#runs.set(program, others);
      else this.#runs.delete(program);
    }
  }

  async #forward(program: Program, params: Params, inputs: readonly Tensor[]): Promise<SavedForward | undefined> {
    const bytes = program.residualBytes;
    if (!this.#memory.canSave(program, bytes)) return undefined;
    const added = () => this.#memory.residuals.added(program, bytes);
    const { outputs, saved } = await this.#use(program, () => program.forward(params, inputs), added());
    const clones = inputs.map((x) => clone(x));
    const release = () => {
      program.releaseSaved(saved);
      dispose(clones);
    };
    const run = (dy: Tensor) => program.backward(params, clones, saved, dy);
    const backward = (dy: Tensor) => saved.hold(() => this.#use(program, () => run(dy), saved.buffers ? 0 : added()));
    return { outputs: outputs as [Tensor], bytes, release, backward };
  }

  /** Sets the limit of memory if the user has not given one. */
  async #findMemory(): Promise<void> {
    this.#memory.maxMemory ??= processBytes + 0.7 * (await this.#runtime.freeMemory());
  }

  #program(source: Source, params: Params, inputs: readonly Tensor[], derivative?: Derivative): Program {
    const { fn, refresh, programs } = source;
    const key = `${this.#key(params, inputs)} ${derivative?.dy.shape.join()}`;
    const found = programs.get(key);
    const existing = found && this.#programs.has(found) ? found : undefined;
    if (existing && !refresh) return existing;
    const recording = recordFunction(fn, params, inputs.map(specOf), derivative);
    if (existing?.isOf(recording)) return existing;
    if (existing) {
      this.#forget(existing);
      void existing.release();
    }
    const { threads, profile, relayout, onCompile } = this.#options;
    const session = { device: this.device, threads, profile, relayout };
    const check = () =>
      this.device === 'cpu' ? Promise.resolve(true) : canAttend(this.device, attend(this.#runtime, session));
    const name = `${fn.name || 'function'}${derivative ? ', with its gradient' : ''}`;
    const program: Program = new Program(name, recording, {
      runtime: this.#runtimeOf(recording),
      session,
      weights: this.#weights,
      memory: this.#memory.residuals,
      limit: () => this.#memory.running(program.weights),
      precision: this.precision,
      canAttend: () => (this.#attends ??= check()),
      onCompile,
    });
    programs.set(key, program);
    this.#programs.add(program);
    return program;
  }

  /** Chooses where a program runs: all of its sessions at one place, as they share buffers. */
  #runtimeOf({ graph }: RecordedFunction): OnnxRuntime {
    const { runtime, ownProcess = this.device === 'cpu' && !runtime && isWorthProcess(graph) } = this.#options;
    return ownProcess ? processRuntime : this.#runtime;
  }

  #forget(program: Program): void {
    this.#programs.delete(program);
    this.#memory.end(program);
  }

  /** Identifies calls that share a program: by input shapes, frozen leaves and stand-ins. */
  #key(params: Params, inputs: readonly Tensor[]): string {
    return [this.#weightKey(params), ...inputs.map(({ shape, dtype }) => `${dtype}[${shape.join()}]`)].join(' ');
  }

  /** Cached per tree: even small models, which run in milliseconds, have a thousand leaves. */
  #weightKey(params: Params): string {
    const cached = this.#weightKeys.get(params);
    if (cached !== undefined) return cached;
    const leaves = Object.entries(flatten(params)).map(([path, leaf]) =>
      isTrainable(leaf) ? `${path}:${leaf.shape.join()}` : `${path}#${this.#id(leaf)}`,
    );
    const key = leaves.join(' ');
    this.#weightKeys.set(params, key);
    return key;
  }

  #id(leaf: object): number {
    if (!this.#ids.has(leaf)) this.#ids.set(leaf, this.#count++);
    return this.#ids.get(leaf)!;
  }
}
