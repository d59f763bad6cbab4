import { ones, type Tensor } from '@tensorflow/tfjs-core';
import { flatten, isLinearMap, isTensor, trainable, type Leaf, type Params } from '../../params.js';
import type { ModelFunction, Vjp } from '../../vjp.js';
import type { Engine } from '../engine.js';
import { encodeModel } from './encode.js';
import { dependencies, nodesOf, type Dtype, type Graph, type Value } from './graph.js';
import { gradientName, inputName, leafName, record, type Derivative, type Recording, type Spec } from './record.js';
import { startSession, type Session, type SessionOptions } from './session.js';
import { simplify } from './simplify.js';
import { WeightFiles } from './weight-files.js';

export interface OnnxRuntimeEngineOptions extends Partial<SessionOptions> {
  /** Told of every function that is compiled, before and after. */
  readonly onCompile?: (progress: CompileProgress) => void;
}

export interface CompileProgress {
  readonly name: string;
  /** Operators in the graph; not known before it is recorded. */
  readonly nodes?: number;
  /** How long it took; not known before it is done. */
  readonly seconds?: number;
}

/** A function for one set of shapes and frozen weights. */
interface Program {
  readonly recording: Recording;
  readonly session: Session;
}

/**
 * Records model functions once per shape, and runs them with ONNX Runtime. Weights that lie in files as float32 are used in
 * place; others are written to a temporary file first, widened to float32.
 */
export class OnnxRuntimeEngine implements Engine {
  readonly name = 'onnxruntime';
  readonly #options: OnnxRuntimeEngineOptions;
  readonly #weights = new WeightFiles();
  readonly #programs = new Set<Promise<Program>>();
  readonly #ids = new WeakMap<object, number>();
  #count = 0;

  constructor(options: OnnxRuntimeEngineOptions = {}) {
    this.#options = options;
  }

  compile: Engine['compile'] = (fn) => {
    const programs = new Map<string, Promise<Program>>();
    return async (params, ...inputs) => {
      const { recording, session } = await this.#program(programs, fn, params, inputs);
      const outputs = await session.run(feedsOf(params, inputs));
      return outputs.slice(0, recording.outputs.values.length);
    };
  };

  compileVjp: Engine['compileVjp'] = (fn, { wrt = [] } = {}) => {
    const programs = new Map<string, Promise<Program>>();
    return async (params, inputs, dy) => {
      const gradient = dy ?? ones(this.#outputShape(fn, params, inputs));
      const { recording, session } = await this.#program(programs, fn, params, inputs, { wrt, dy: specOf(gradient) });
      const outputs = await session.run({ ...feedsOf(params, inputs), [gradientName]: gradient });
      if (!dy) gradient.dispose();
      return vjpOf(recording, outputs);
    };
  };

  /** Ends all sessions; what was compiled compiles again when it is called again. */
  dispose(): void {
    for (const program of this.#programs) void program.then(({ session }) => session.release());
    this.#programs.clear();
    void this.#weights.dispose();
  }

  #program(programs: Map<string, Promise<Program>>, fn: ModelFunction, params: Params, inputs: readonly Tensor[], derivative?: Derivative): Promise<Program> {
    const key = `${this.#identity(params)} ${inputs.map(({ shape, dtype }) => `${dtype}[${shape.join()}]`).join(' ')} ${derivative?.dy.shape.join()}`;
    const known = programs.get(key);
    if (known && this.#programs.has(known)) return known;
    const program = this.#compile(fn, params, inputs.map(specOf), derivative);
    programs.set(key, program);
    this.#programs.add(program);
    program.catch(() => (programs.delete(key), this.#programs.delete(program)));
    return program;
  }

  async #compile(fn: ModelFunction, params: Params, inputs: readonly Spec[], derivative?: Derivative): Promise<Program> {
    const name = `${fn.name || 'function'}${derivative ? ' and its gradient' : ''}`;
    const started = performance.now();
    this.#options.onCompile?.({ name });
    const recording = record(fn, params, inputs, derivative);
    const graph: Graph = { inputs: recording.graph.inputs, outputs: simplify(recording.graph.outputs) };
    const nodes = nodesOf(graph.outputs);
    await this.#weights.place(weightsOf([...nodes.flatMap(dependencies), ...graph.outputs]));
    const model = encodeModel(graph, this.#weights.locate, name);
    const session = await startSession(model, graph.outputs, { device: 'cpu', ...this.#options });
    this.#options.onCompile?.({ name, nodes: nodes.length, seconds: (performance.now() - started) / 1000 });
    return { recording, session };
  }

  /** What a tree is to a compiled function: its frozen leaves and stand-ins, and the shapes of its trainable leaves. */
  #identity(params: Params): string {
    const leaves = Object.entries(flatten(params));
    return leaves.map(([path, leaf]) => (isTrainableLeaf(leaf) ? `${path}:${leaf.shape.join()}` : `${path}#${this.#id(leaf)}`)).join(';');
  }

  #id(leaf: object): number {
    if (!this.#ids.has(leaf)) this.#ids.set(leaf, this.#count++);
    return this.#ids.get(leaf)!;
  }

  #outputShape(fn: ModelFunction, params: Params, inputs: readonly Tensor[]): number[] {
    return [...record(fn, params, inputs.map(specOf)).outputs.values[0]!.shape];
  }
}

const isTrainableLeaf = (leaf: Leaf): boolean => !isLinearMap(leaf) && isTensor(leaf) && Object.keys(trainable(leaf)).length > 0;

const specOf = ({ shape, dtype }: Tensor): Spec => ({ shape, dtype: dtype as Dtype });

function feedsOf(params: Params, inputs: readonly Tensor[]): Record<string, Tensor> {
  const leaves = Object.entries(trainable(params)).map(([path, leaf]) => [leafName(path), leaf as Tensor] as const);
  return Object.fromEntries([...inputs.map((x, i) => [inputName(i), x] as const), ...leaves]);
}

function vjpOf({ outputs: { values, inputs, params } }: Recording, results: readonly Tensor[]): Vjp {
  const [value, ...aux] = results.slice(0, values.length) as [Tensor, ...Tensor[]];
  const gradients = results.slice(values.length);
  const paths = Object.keys(params);
  return { value, aux, inputs: gradients.slice(0, inputs.length), params: Object.fromEntries(paths.map((path, i) => [path, gradients[inputs.length + i]!])) };
}

function weightsOf(values: readonly (Value | undefined)[]): Set<object> {
  return new Set(values.flatMap((value) => (value?.source.kind === 'weight' ? [value.source.leaf] : [])));
}
