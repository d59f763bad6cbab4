import { dispose, type Tensor } from '@tensorflow/tfjs-core';
import { trainable, type Params } from '../../../params.js';
import type { Vjp } from '../../../vjp.js';
import type { Precision } from '../../../precision.js';
import { avoidFaults } from './device-faults.js';
import { encodeModel } from '../graph/encode.js';
import { foldConstants } from '../passes/fold-constants.js';
import {
  bytesOf,
  dependencies,
  nodesOf,
  relayoutLimit,
  sumOf,
  weightsOf,
  type Graph,
  type GraphNode,
  type Value,
} from '../graph/graph.js';
import { isSameGraph } from '../graph/same-graph.js';
import { gradientName, inputName, leafName, type RecordedFunction } from '../recording/record-function.js';
import type { MemoryUser } from '../../memory-budget.js';
import type { ResidualMemory, SavedActivations } from './residual-memory.js';
import type { Feeds, OutputBuffer, Session, SessionOptions } from './session.js';
import { activationsOf, fittingSplit, type FittingSplit } from './fitting-split.js';
import { graphMemory } from './peak-memory.js';
import type { Stage } from '../passes/stages.js';
import { optimize } from '../passes/optimize.js';
import type { OnnxRuntime, WeightRequest, WeightStore } from './runtime.js';

/** The parts of an engine that its programs share. */
export interface ProgramOptions {
  readonly runtime: OnnxRuntime;
  readonly session: SessionOptions;
  readonly weights: WeightStore;
  readonly memory: ResidualMemory;
  /** Bytes for the run of a program with its gradient; asked for once, before its first run. */
  readonly limit: () => number;
  readonly precision: Precision;
  /** Tells whether the device computes attention as the CPU does. */
  readonly canAttend: () => Promise<boolean>;
  /** Called before and after each compilation of a graph. */
  readonly onCompile?: (progress: CompileProgress) => void;
}

/** The state of one compilation. All fields but the name are undefined until they are known. */
export interface CompileProgress {
  readonly name: string;
  /** The number of operators in the graph. */
  readonly nodes?: number;
  /** The duration of the compilation. */
  readonly seconds?: number;
  /** The graph that ONNX Runtime runs. */
  readonly graph?: Graph;
  /** The graph as an ONNX file, which Netron opens. It refers to the weights in other files. */
  readonly model?: Uint8Array;
}

/**
 * A model function, optionally with its gradient, recorded for one set of shapes and frozen weights. Its sessions start
 * on first use.
 */
export class Program implements MemoryUser {
  readonly #name: string;
  readonly #recording: RecordedFunction;
  readonly #outputs: readonly Value[];
  readonly #options: ProgramOptions;
  readonly #sessions = new Map<string, Promise<Session>>();
  #isReleased = false;
  #cachedSplit: FittingSplit | undefined;
  #cachedWeights: ReadonlyMap<object, number> | undefined;
  #cachedActivationBytes: number | undefined;

  constructor(name: string, recording: RecordedFunction, options: ProgramOptions) {
    this.#name = name;
    this.#recording = recording;
    this.#outputs = optimize(recording, options.precision, options.session);
    this.#options = options;
  }

  /** Whether a later recording of the function has the same graph, constants included. */
  isOf({ graph }: RecordedFunction): boolean {
    return isSameGraph(this.#recording.graph, graph);
  }

  /** Bytes that one forward run saves for backward. */
  get residualBytes(): number {
    return this.#split.residualBytes;
  }

  /** The bytes of each frozen weight that the program reads. */
  get weights(): ReadonlyMap<object, number> {
    this.#cachedWeights ??= weightsOf(this.#outputs);
    return this.#cachedWeights;
  }

  get activationBytes(): number {
    this.#cachedActivationBytes ??= this.#hasGradient ? activationsOf(this.#split) : this.#plainBytes;
    return this.#cachedActivationBytes;
  }

  /** Runs a program without gradient. */
  async run(params: Params, inputs: readonly Tensor[]): Promise<readonly Tensor[]> {
    const session = await this.#session(this.#name, () => ({
      inputs: this.#recording.graph.inputs,
      outputs: this.#outputs,
      relayout: this.#relayout,
    }));
    return session.run(feedsOf(params, inputs));
  }

  /**
   * Runs forward and backward. One graph for both would keep values alive from forward to backward that are cheaper to
   * recompute.
   */
  async vjp(params: Params, inputs: readonly Tensor[], dy: Tensor): Promise<Vjp> {
    const { outputs, saved } = await this.forward(params, inputs);
    const [value, ...aux] = outputs as [Tensor, ...Tensor[]];
    const gradients = await saved
      .hold(() => this.backward(params, inputs, saved, dy))
      .finally(() => this.releaseSaved(saved));
    return { value, aux, ...gradients };
  }

  /** Runs the function alone. What it saves serves any number of `backward` calls until it is released. */
  async forward(
    params: Params,
    inputs: readonly Tensor[],
  ): Promise<{ outputs: readonly Tensor[]; saved: SavedActivations }> {
    const buffered = this.#split.forward.outputs.length - this.#valueCount;
    const { forward, relayout } = this.#split;
    const session = await this.#session(`${this.#name}: forward`, () => ({ ...forward, relayout, buffered }));
    const saved = this.#options.memory.acquire(this, this.residualBytes, () =>
      session.allocateOutputs(this.#valueCount),
    );
    try {
      const outputs = await saved.hold(() => session.run(feedsOf(params, inputs), saved.buffers));
      return { outputs, saved };
    } catch (error) {
      this.releaseSaved(saved);
      throw error;
    }
  }

  /** Computes the gradients from the weights, the inputs and what a forward run saved. */
  async backward(
    params: Params,
    inputs: readonly Tensor[],
    saved: SavedActivations,
    dy: Tensor,
  ): Promise<Pick<Vjp, 'inputs' | 'params'>> {
    if (!saved.buffers) {
      const { value, aux, ...gradients } = await this.vjp(params, inputs, dy);
      dispose([value, ...aux]);
      return gradients;
    }
    const residuals = saved.buffers.map((buffer, i) => [this.#split.residuals[i]!, buffer] as const);
    const feeds = { ...feedsOf(params, inputs), ...Object.fromEntries(residuals), [gradientName]: dy };
    const carried = new Map<string, OutputBuffer>();
    const gradients: Tensor[] = [];
    try {
      for (const [i, stage] of this.#split.backward.entries()) {
        const results = await this.#runStage(i, stage, feeds, carried);
        stage.gradients.forEach((index, j) => (gradients[index] = results[j]!));
        for (const name of stage.finished) {
          carried.get(name)!.dispose();
          carried.delete(name);
        }
      }
    } catch (error) {
      dispose(Object.values(gradients));
      carried.forEach((buffer) => buffer.dispose());
      throw error;
    }
    return this.#gradients(gradients);
  }

  /** Runs one stage of backward. @param carried the values of earlier stages; receives those of this one */
  async #runStage(
    index: number,
    { graph, gradients, carried: names }: Stage,
    feeds: Feeds,
    carried: Map<string, OutputBuffer>,
  ): Promise<readonly Tensor[]> {
    const { backward, relayout } = this.#split;
    const part = backward.length === 1 ? '' : ` ${index + 1} of ${backward.length}`;
    const buffered = names.length;
    const session = await this.#session(`${this.#name}: backward${part}`, () => ({ ...graph, relayout, buffered }));
    const all = { ...feeds, ...Object.fromEntries(carried) };
    const buffers = session.allocateOutputs(gradients.length);
    names.forEach((name, i) => carried.set(name, buffers[i]!));
    return session.run(all, buffers);
  }

  /** Lets the next forward run reuse the memory of what one saved. Further calls do nothing. */
  releaseSaved(saved: SavedActivations): void {
    this.#options.memory.release(saved);
    if (this.#isReleased) this.#options.memory.freeSpare(this);
  }

  /** Ends all sessions until the next run. What forward runs saved stays. */
  async rest(): Promise<void> {
    const sessions = [...this.#sessions.values()];
    this.#sessions.clear();
    this.#options.memory.freeSpare(this);
    for (const session of sessions) await (await session).release();
  }

  /** Ends all sessions after the last forward run. What forward runs saved stays until it is released. */
  release(): Promise<void> {
    this.#isReleased = true;
    return this.rest();
  }

  /** Ends all sessions for good, and frees what forward runs saved. */
  dispose(): Promise<void> {
    this.#options.memory.free(this);
    return this.release();
  }

  /** The number of outputs of the function itself. */
  get #valueCount(): number {
    return this.#recording.outputs.values.length;
  }

  /** Whether sessions rearrange weights if memory is not short. */
  get #relayout(): boolean {
    return this.#options.session.relayout ?? sumOf(this.weights.values()) <= relayoutLimit;
  }

  get #hasGradient(): boolean {
    return this.#outputs.length > this.#valueCount;
  }

  /** The memory of a run without gradient. */
  get #plainBytes(): number {
    const graph = { inputs: this.#recording.graph.inputs, outputs: this.#outputs };
    const { activations, outputs } = graphMemory(graph, { relayout: this.#relayout });
    return activations + outputs;
  }

  get #split(): FittingSplit {
    this.#cachedSplit ??= fittingSplit(
      this.#recording.graph.inputs,
      this.#outputs.slice(0, this.#valueCount),
      this.#outputs.slice(this.#valueCount),
      { limit: this.#options.limit(), relayout: this.#relayout },
    );
    return this.#cachedSplit;
  }

  #gradients(results: readonly Tensor[]): Pick<Vjp, 'inputs' | 'params'> {
    const { inputs, params } = this.#recording.outputs;
    return {
      inputs: results.slice(0, inputs.length),
      params: Object.fromEntries(Object.keys(params).map((path, i) => [path, results[inputs.length + i]!])),
    };
  }

  #session(name: string, partOf: () => Part): Promise<Session> {
    if (!this.#sessions.has(name)) {
      const session = this.#start(name, partOf());
      session.catch(() => this.#sessions.delete(name));
      this.#sessions.set(name, session);
    }
    return this.#sessions.get(name)!;
  }

  async #start(name: string, { relayout, buffered, ...recorded }: Part): Promise<Session> {
    const { runtime, weights, session: options, onCompile, canAttend } = this.#options;
    const started = performance.now();
    onCompile?.({ name });
    const folded = await foldConstants(recorded.outputs, (graph) => evaluate(runtime, graph));
    const outputs = await avoidFaults(name, folded, options.device, canAttend);
    const nodes = nodesOf(outputs);
    const used = new Set([...nodes.flatMap(dependencies), ...outputs]);
    await weights.place(requestsOf([...used]));
    // ONNX Runtime requires a value for every declared input, so unused ones are not declared.
    const graph: Graph = { inputs: recorded.inputs.filter((input) => used.has(input)), outputs };
    const model = encodeModel(graph, weights.locate, name);
    const session = await runtime
      .startSession({ model, outputs, buffered }, { ...options, relayout }, weights)
      .catch(explain(name, nodes, options));
    onCompile?.({ name, nodes: nodes.length, seconds: (performance.now() - started) / 1000, graph, model });
    return {
      ...session,
      run: (feeds, into) => session.run(feeds, into).catch(explain(name, nodes, options)),
    };
  }
}

/** A graph of a program, and how its session runs it. */
interface Part extends Graph {
  readonly relayout: boolean;
  /** The number of the last outputs that runs write into buffers; 0 by default. */
  readonly buffered?: number;
}

/** Runs a graph without inputs or weights once. */
async function evaluate(runtime: OnnxRuntime, graph: Graph): Promise<readonly ArrayLike<number>[]> {
  const model = encodeModel(graph, () => ({ file: '', offset: 0, length: 0 }));
  const session = await runtime.startSession(
    { model, outputs: graph.outputs },
    { device: 'cpu', threads: 1, relayout: true },
  );
  const results = await session.run({});
  await session.release();
  const values = results.map((result) => result.dataSync());
  dispose(results);
  return values;
}

/** Makes a handler that rethrows an error with the name of the graph, its largest tensors and advice. */
function explain(name: string, nodes: readonly GraphNode[], { device }: SessionOptions): (error: Error) => never {
  return (cause) => {
    const values = nodes.flatMap((node) =>
      node.outputs.map((value) => ({ op: node.op, value, bytes: bytesOf(value) })),
    );
    const largest = values
      .sort((a, b) => b.bytes - a.bytes)
      .slice(0, 3)
      .map(({ op, value, bytes }) => `${op} [${value.shape.join(', ')}] (${(bytes / 2 ** 20).toFixed(1)} MiB)`);
    const advice =
      device === 'cpu'
        ? 'If memory ran out, use smaller images or batches.'
        : `Try smaller images or batches if memory ran out, and device 'cpu' if '${device}' is not there.`;
    throw new Error(
      `OnnxRuntimeEngine: '${name}' failed on ${device}: ${cause.message} ` +
        `Its largest tensors: ${largest.join(', ')}. ${advice}`,
      { cause },
    );
  };
}

/** The function's inputs and the trainable leaves, under their names in the graph. */
function feedsOf(params: Params, inputs: readonly Tensor[]): Record<string, Tensor> {
  const leaves = Object.entries(trainable(params)).map(([path, leaf]) => [leafName(path), leaf as Tensor] as const);
  return Object.fromEntries([...inputs.map((x, i) => [inputName(i), x] as const), ...leaves]);
}

function requestsOf(values: readonly (Value | undefined)[]): WeightRequest[] {
  return values.flatMap((value) =>
    value?.source.kind === 'weight' ? [{ leaf: value.source.leaf, dtype: value.dtype }] : [],
  );
}
