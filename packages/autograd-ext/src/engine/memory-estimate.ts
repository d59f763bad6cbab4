import { memory, profile, scalar, tensor, type Tensor } from '@tensorflow/tfjs-core';
import { elementCount, flattenTensors, isTrainable, type Params } from '../params.js';
import type { ModelFunction } from '../vjp.js';
import type { EngineName } from './create-engine.js';
import type { CompiledVjp, Engine, KeptForward } from './engine.js';
import type { Precision } from './precision.js';
import { tensorType, type Graph, type Value } from './onnxruntime/graph/graph.js';
import { optimize } from './onnxruntime/passes/optimize.js';
import { graphMemory, type GraphMemory } from './onnxruntime/runtime/peak-memory.js';
import {
  recordFunction,
  specOf,
  type Derivative,
  type RecordedFunction,
  type Spec,
} from './onnxruntime/recording/record-function.js';
import { ResidualMemory } from './onnxruntime/runtime/residual-memory.js';
import { split } from './onnxruntime/passes/split.js';

export interface DryRunOptions {
  /** The engine that is asked about. */
  readonly engine: EngineName;
  /** As `OnnxRuntimeEngineOptions.maxMemory`. */
  readonly maxMemory: number;
  /** As `OnnxRuntimeEngineOptions.precision`. */
  readonly precision?: Precision;
  /** What a function is called in the report, by its weights. */
  readonly nameOf?: (params: Params) => string;
}

/** What an engine would hold at the moment at which it holds most, in bytes. */
export interface EngineMemory {
  /** What was running then. */
  readonly running: string;
  /** Frozen weights: mapped, or in tfjs's memory with the layouts that are made of them. */
  readonly weights: number;
  /** What runs at that moment, without what is kept. */
  readonly activations: number;
  /** What forward runs leave to their gradients, by function. */
  readonly kept: Readonly<Record<string, number>>;
  /** Copies of results that JavaScript has not freed yet. */
  readonly copies: number;
  /** Compiled graphs. */
  readonly sessions: number;
}

/** ONNX Runtime's own memory for a node of a compiled graph, and JavaScript's for recording it; measured. */
const bytesOfNode = 9e3;
/** JavaScript collects memory outside its heap when this much has been added. */
const collectedAt = 2 ** 26;

/** What tfjs holds beyond the results that live: memory of freed ones that others share, and gaps; measured on wasm. */
const heapFactor = 2;

/** A function for one set of shapes and weights. */
interface Recorded {
  readonly name: string;
  readonly outputs: readonly Spec[];
  readonly gradients: readonly Spec[];
  readonly paths: readonly string[];
  readonly residualBytes: number;
  readonly graphs: Readonly<Record<'plain' | 'forward' | 'backward', () => GraphMemory>>;
  /** With tfjs: the most that lives beside weights and inputs. */
  readonly live: number;
}

/** What is held at one moment. */
interface Held {
  activations: number;
  copies: number;
}

/**
 * Runs nothing: records functions as the engine asked about would, answers with zeros, and adds up what that engine
 * would hold. The gradients of weights are scalars, since nobody reads them.
 */
export class DryRunEngine implements Engine {
  readonly name = 'dry-run';
  readonly records = true;
  readonly precision: Precision;
  readonly #options: DryRunOptions;
  readonly #ids = new WeakMap<object, number>();
  readonly #sessions = new Map<string, GraphMemory>();
  readonly #loaded = new Map<object, number>();
  readonly #memory = new ResidualMemory();
  #count = 0;
  #copies = 0;
  #peak: EngineMemory = { running: 'nothing', weights: 0, activations: 0, kept: {}, copies: 0, sessions: 0 };

  constructor(options: DryRunOptions) {
    this.#options = options;
    this.precision = options.precision ?? 'float32';
  }

  /** At the worst moment so far. */
  get peak(): EngineMemory {
    return this.#peak;
  }

  compile: Engine['compile'] = (fn) => {
    const known = new Map<string, Promise<Recorded>>();
    return async (params, ...inputs) => {
      const recorded = await this.#recordFunction(known, fn, params, inputs.map(specOf));
      this.#run(recorded, 'plain', params);
      return recorded.outputs.map(zerosOf);
    };
  };

  compileVjp: Engine['compileVjp'] = (fn, { wrt = [] } = {}) => {
    const known = new Map<string, Promise<Recorded>>();
    const recordedOf = async (params: Params, inputs: readonly Tensor[], dy?: Tensor) => {
      const specs = inputs.map(specOf);
      const like = dy ? specOf(dy) : specOf(recordFunction(fn, params, specs).outputs.values[0]!);
      return this.#recordFunction(known, fn, params, specs, { wrt, dy: like });
    };
    const run = async (params: Params, inputs: readonly Tensor[], dy?: Tensor) => {
      const recorded = await recordedOf(params, inputs, dy);
      this.#run(recorded, 'forward', params);
      this.#run(recorded, 'backward', params);
      this.#give(recorded);
      const [value, ...aux] = recorded.outputs.map(zerosOf) as [Tensor, ...Tensor[]];
      return { value, aux, ...gradientsOf(recorded) };
    };
    const keep: CompiledVjp['keep'] = async (params, inputs) => {
      const recorded = await recordedOf(params, inputs);
      return this.#memory.fits(recorded, recorded.residualBytes, this.#options.maxMemory)
        ? this.#keep(recorded, params)
        : undefined;
    };
    return this.#options.engine === 'tfjs' ? run : Object.assign(run, { keep });
  };

  dispose(): void {}

  #keep(recorded: Recorded, params: Params): KeptForward {
    this.#run(recorded, 'forward', params);
    let isHeld = true;
    return {
      outputs: recorded.outputs.map(zerosOf) as [Tensor],
      bytes: recorded.residualBytes,
      release: () => {
        if (isHeld) this.#give(recorded);
        isHeld = false;
      },
      backward: () => {
        this.#run(recorded, 'backward', params);
        return Promise.resolve(gradientsOf(recorded));
      },
    };
  }

  #give(recorded: Recorded): void {
    this.#memory.give(recorded, [], recorded.residualBytes);
  }

  /** Bytes that forward runs leave, by the function's name. */
  get #kept(): Record<string, number> {
    const kept: Record<string, number> = {};
    for (const [owner, bytes] of this.#memory.held) {
      const { name } = owner as Recorded;
      kept[name] = (kept[name] ?? 0) + bytes;
    }
    return kept;
  }

  #run(recorded: Recorded, part: keyof Recorded['graphs'], params: Params): void {
    if (this.#options.engine === 'tfjs') return this.#runEagerly(recorded, params);
    const key = `${this.#id(recorded)} ${part}`;
    if (!this.#sessions.has(key)) this.#sessions.set(key, recorded.graphs[part]());
    const { activations, outputs } = this.#sessions.get(key)!;
    if (part === 'forward') this.#memory.take(recorded, recorded.residualBytes, () => []);
    if (this.#copies > collectedAt) this.#copies = 0;
    this.#copies += outputs;
    this.#note(`${recorded.name}: ${part}`, { activations, copies: this.#copies });
  }

  #runEagerly(recorded: Recorded, params: Params): void {
    for (const leaf of Object.values(flattenTensors(params)))
      if (!isTrainable(leaf)) this.#loaded.set(leaf, layoutsOf(leaf.shape) * 4 * elementCount(leaf.shape));
    this.#note(recorded.name, { activations: heapFactor * recorded.live, copies: 0 });
  }

  #note(running: string, { activations, copies }: Held): void {
    const sessions = [...this.#sessions.values()];
    const sum = (of: (session: GraphMemory) => number) => sessions.reduce((all, session) => all + of(session), 0);
    const lying = new Map([...this.#loaded, ...sessions.flatMap((session) => [...session.weights])]);
    const weights = total(lying) + sum(({ folded }) => folded);
    const now: EngineMemory = {
      running,
      weights,
      activations,
      kept: this.#kept,
      copies,
      sessions: bytesOfNode * sum(({ nodes }) => nodes),
    };
    if (totalOf(now) >= totalOf(this.#peak)) this.#peak = now;
  }

  #recordFunction(
    known: Map<string, Promise<Recorded>>,
    fn: ModelFunction,
    params: Params,
    inputs: readonly Spec[],
    derivative?: Derivative,
  ): Promise<Recorded> {
    const leaves = Object.values(flattenTensors(params)).map((leaf) => this.#id(leaf));
    const key = `${leaves.join()} ${inputs.map(({ dtype, shape }) => `${dtype}[${shape.join()}]`).join(' ')}`;
    const recorded = known.get(key) ?? this.#measure(fn, params, inputs, derivative);
    known.set(key, recorded);
    return recorded;
  }

  async #measure(
    fn: ModelFunction,
    params: Params,
    inputs: readonly Spec[],
    derivative?: Derivative,
  ): Promise<Recorded> {
    const name = this.#options.nameOf?.(params) ?? (fn.name || 'function');
    let recording: RecordedFunction | undefined;
    const before = memory().numBytes;
    const { kernels } = await profile(() => {
      recording = recordFunction(fn, params, inputs, derivative);
      return [];
    });
    const weights = Object.values(flattenTensors(params)).reduce((sum, { shape }) => sum + 4 * elementCount(shape), 0);
    return describe(name, recording!, this.precision, mostBytes(kernels, before + weights));
  }

  #id(thing: object): number {
    if (!this.#ids.has(thing)) this.#ids.set(thing, this.#count++);
    return this.#ids.get(thing)!;
  }
}

/** All that an engine holds. */
export const totalOf = ({ weights, activations, kept, copies, sessions }: EngineMemory): number =>
  weights + activations + copies + sessions + Object.values(kept).reduce((sum, bytes) => sum + bytes, 0);

function describe(name: string, recording: RecordedFunction, precision: Precision, live: number): Recorded {
  const { graph, outputs } = recording;
  const all = optimize(recording, precision);
  const count = outputs.values.length;
  const cut = split(graph.inputs, all.slice(0, count), all.slice(count));
  const once = (of: () => Graph) => () => graphMemory(of(), { relayout: isSmall(all) });
  return {
    name,
    outputs: outputs.values.map(specOf),
    gradients: outputs.inputs.map(specOf),
    paths: Object.keys(outputs.params),
    residualBytes: cut.residualBytes,
    graphs: {
      plain: once(() => ({ inputs: graph.inputs, outputs: all.slice(0, count) })),
      forward: once(() => cut.forward),
      backward: once(() => cut.backward),
    },
    live,
  };
}

/** What tfjs returns under another shape, or as a copy, shares memory with what it was; tfjs counts it twice. */
const sharing = new Set(['Reshape', 'Identity', 'ExpandDims']);

/**
 * The most that lives after any of the kernels, apart from `before`. Taken to be freed is what was made last, as tidies
 * do it.
 */
function mostBytes(kernels: Awaited<ReturnType<typeof profile>>['kernels'], before: number): number {
  const stack: { bytes: number; readonly isShared: boolean }[] = [];
  let [counted, own, most] = [before, 0, 0];
  for (const { name, bytesAdded, totalBytesSnapshot } of kernels) {
    for (let freed = counted + bytesAdded - totalBytesSnapshot; freed > 0 && stack.length > 0;) {
      const last = stack.at(-1)!;
      const part = Math.min(freed, last.bytes);
      last.bytes -= part;
      freed -= part;
      if (!last.isShared) own -= part;
      if (last.bytes === 0) stack.pop();
    }
    stack.push({ bytes: bytesAdded, isShared: sharing.has(name) });
    if (!sharing.has(name)) own += bytesAdded;
    counted = totalBytesSnapshot;
    most = Math.max(most, own);
  }
  return most;
}

const isSmall = (outputs: readonly Value[]): boolean => total(graphMemory({ inputs: [], outputs }).weights) <= 2 ** 28;

const total = (bytes: ReadonlyMap<object, number>): number => [...bytes.values()].reduce((sum, each) => sum + each, 0);

function gradientsOf({ gradients, paths }: Recorded): { inputs: Tensor[]; params: Record<string, Tensor> } {
  return { inputs: gradients.map(zerosOf), params: Object.fromEntries(paths.map((path) => [path, scalar(0)])) };
}

let zeros = new Float32Array(0);

/** On tfjs's cpu backend all zeros are the same memory. */
function zerosOf({ shape, dtype }: Spec): Tensor {
  const size = elementCount(shape);
  if (zeros.length < size) zeros = new Float32Array(size);
  return tensor(dtype === 'float32' ? zeros.subarray(0, size) : new Int32Array(size), [...shape], tensorType(dtype));
}

/** How often a frozen weight lies in tfjs's memory: as it is, and as kernels want it. */
const layoutsOf = (shape: readonly number[]): number => (shape.length === 4 ? 3 : shape.length === 2 ? 2 : 1);
