import { clone, dispose, ones, type Tensor } from '@tensorflow/tfjs-core';
import { flatten, isTrainable, type Params } from '../../params.js';
import type { ModelFunction } from '../../vjp.js';
import type { CompiledVjp, Engine, KeptForward } from '../engine.js';
import type { Precision } from '../precision.js';
import { checkAttention } from './runtime/device-faults.js';
import { Program, type CompileProgress } from './runtime/program.js';
import { recordFunction, specOf, type Derivative, type Spec } from './recording/record-function.js';
import { ResidualMemory } from './runtime/residual-memory.js';
import { freeMemory, type SessionOptions } from './runtime/session.js';
import { WeightFiles } from './runtime/weight-files.js';

export interface OnnxRuntimeEngineOptions extends Partial<SessionOptions> {
  /**
   * Bytes that may hold what forward runs leave to their gradients; by default 70 % of the memory that is free when the
   * first asks.
   */
  readonly maxMemory?: number;
  /**
   * What products are computed in, 'float32' by default; see `mixPrecision`. The CPU has no float16: it only rounds to
   * it, slowly.
   */
  readonly precision?: Precision;
  /** Told of every graph that is compiled, before and after. */
  readonly onCompile?: (progress: CompileProgress) => void;
}

type Programs = Map<string, Program>;

/**
 * Records model functions once for each shape, and runs them with ONNX Runtime. Weights that lie in files as float32
 * are used in place; others are written to a temporary file first, widened to float32. With `precision: 'float16'`,
 * matrices that lie as float16 are used in place, and others written as that. A tree of weights is recognised by its
 * frozen leaves and stand-ins: make these once, not for every call.
 */
export class OnnxRuntimeEngine implements Engine {
  readonly name = 'onnxruntime';
  readonly records = true;
  readonly precision: Precision;
  readonly #options: OnnxRuntimeEngineOptions;
  readonly #weights = new WeightFiles();
  readonly #programs = new Set<Program>();
  readonly #ids = new WeakMap<object, number>();
  readonly #weightKeys = new WeakMap<object, string>();
  readonly #memory = new ResidualMemory();
  #count = 0;
  #checked: Promise<void> | undefined;
  #maxMemory: number | undefined;

  constructor(options: OnnxRuntimeEngineOptions = {}) {
    this.#options = options;
    this.#maxMemory = options.maxMemory;
    this.precision = options.precision ?? 'float32';
  }

  compile: Engine['compile'] = (fn) => {
    const programs: Programs = new Map();
    return async (params, ...inputs) => this.#program(programs, fn, params, inputs).run(params, inputs);
  };

  compileVjp: Engine['compileVjp'] = (fn, { wrt = [] } = {}) => {
    const programs: Programs = new Map();
    const shapes = new Map<string, readonly number[]>();
    const outputShape = (params: Params, inputs: readonly Tensor[]) => {
      const key = this.#key(params, inputs);
      if (!shapes.has(key)) shapes.set(key, recordFunction(fn, params, inputs.map(specOf)).outputs.values[0]!.shape);
      return shapes.get(key)!;
    };
    const program = (params: Params, inputs: readonly Tensor[], dy: Spec) =>
      this.#program(programs, fn, params, inputs, { wrt, dy });
    const run = async (params: Params, inputs: readonly Tensor[], dy?: Tensor) => {
      const gradient = dy ?? ones([...outputShape(params, inputs)]);
      try {
        return await program(params, inputs, specOf(gradient)).vjp(params, inputs, gradient);
      } finally {
        if (!dy) gradient.dispose();
      }
    };
    const keep: CompiledVjp['keep'] = async (params, inputs) =>
      this.#keep(program(params, inputs, { shape: outputShape(params, inputs), dtype: 'float32' }), params, inputs);
    return Object.assign(run, { keep });
  };

  /** Ends all sessions; what was compiled compiles again when it is called again. */
  dispose(): void {
    for (const program of this.#programs) void program.release();
    this.#programs.clear();
    void this.#weights.dispose();
  }

  async #keep(program: Program, params: Params, inputs: readonly Tensor[]): Promise<KeptForward | undefined> {
    const bytes = program.residualBytes;
    this.#maxMemory ??= 0.7 * (await freeMemory());
    if (!this.#memory.fits(program, bytes, this.#maxMemory)) return undefined;
    const { outputs, held } = await program.forward(params, inputs);
    const own = inputs.map((x) => clone(x));
    const release = () => {
      if (own.length > 0) program.giveBack(held);
      dispose(own.splice(0));
    };
    return { outputs: outputs as [Tensor], bytes, release, backward: (dy) => program.backward(params, own, held, dy) };
  }

  #program(
    programs: Programs,
    fn: ModelFunction,
    params: Params,
    inputs: readonly Tensor[],
    derivative?: Derivative,
  ): Program {
    const key = `${this.#key(params, inputs)} ${derivative?.dy.shape.join()}`;
    const known = programs.get(key);
    if (known && this.#programs.has(known)) return known;
    const { device = 'cpu', threads, profile, onCompile } = this.#options;
    const session = { device, threads, profile };
    const checked = () => (this.#checked ??= device === 'cpu' ? Promise.resolve() : checkAttention(session));
    const program = new Program(fn, params, inputs.map(specOf), derivative, {
      session,
      weights: this.#weights,
      memory: this.#memory,
      precision: this.precision,
      checkAttention: checked,
      onCompile,
    });
    programs.set(key, program);
    this.#programs.add(program);
    return program;
  }

  /** What makes a call like another: shapes, frozen leaves and stand-ins. */
  #key(params: Params, inputs: readonly Tensor[]): string {
    return [this.#weightKey(params), ...inputs.map(({ shape, dtype }) => `${dtype}[${shape.join()}]`)].join(' ');
  }

  /** Looked at once for each tree: small models have a thousand leaves, and run in milliseconds. */
  #weightKey(params: Params): string {
    const known = this.#weightKeys.get(params);
    if (known !== undefined) return known;
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
