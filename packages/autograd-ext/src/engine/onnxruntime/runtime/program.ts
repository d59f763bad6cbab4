import { dispose, type Tensor } from '@tensorflow/tfjs-core';
import { trainable, type Params } from '../../../params.js';
import type { ModelFunction, Vjp } from '../../../vjp.js';
import type { Precision } from '../../precision.js';
import { refuseFaults } from './device-faults.js';
import { encodeModel } from '../graph/encode.js';
import { foldConstants } from '../passes/fold-constants.js';
import { bytesOf, dependencies, nodesOf, type Graph, type GraphNode, type Value } from '../graph/graph.js';
import {
  gradientName,
  inputName,
  leafName,
  recordFunction,
  type Derivative,
  type RecordedFunction,
  type Spec,
} from '../recording/record-function.js';
import type { ResidualMemory } from './residual-memory.js';
import { startSession, type Held, type Session, type SessionOptions } from './session.js';
import { residualName, split } from '../passes/split.js';
import { optimize } from '../passes/optimize.js';
import type { Placed, WeightFiles } from './weight-files.js';

/** What a program is compiled with. */
export interface ProgramOptions {
  readonly session: SessionOptions;
  readonly weights: WeightFiles;
  readonly memory: ResidualMemory;
  readonly precision: Precision;
  /** Awaited before a graph with attention runs. */
  readonly checkAttention: () => Promise<void>;
  /** Told of every graph that is compiled, before and after. */
  readonly onCompile?: (progress: CompileProgress) => void;
}

export interface CompileProgress {
  readonly name: string;
  /** Operators in the graph; not known before it is recorded. */
  readonly nodes?: number;
  /** How long it took; not known before it is done. */
  readonly seconds?: number;
  /** What ONNX Runtime was given; not known before it is done. */
  readonly graph?: Graph;
  /** The same as an ONNX file, which Netron opens. Weights lie elsewhere. */
  readonly model?: Uint8Array;
}

/**
 * A function, and its gradient if it has one, for one set of shapes and frozen weights. Sessions start when they are
 * first needed.
 */
export class Program {
  readonly #name: string;
  readonly #recording: RecordedFunction;
  readonly #outputs: readonly Value[];
  readonly #options: ProgramOptions;
  readonly #sessions = new Map<string, Promise<Session>>();
  #cut: ReturnType<typeof split> | undefined;

  /** @throws RecordingError */
  constructor(
    fn: ModelFunction,
    params: Params,
    inputs: readonly Spec[],
    derivative: Derivative | undefined,
    options: ProgramOptions,
  ) {
    this.#name = `${fn.name || 'function'}${derivative ? ', with its gradient' : ''}`;
    this.#recording = recordFunction(fn, params, inputs, derivative);
    this.#outputs = optimize(this.#recording, options.precision);
    this.#options = options;
  }

  /** Bytes of what `forward` leaves behind. */
  get residualBytes(): number {
    return this.#split.residualBytes;
  }

  /** The function without a gradient. */
  async run(params: Params, inputs: readonly Tensor[]): Promise<readonly Tensor[]> {
    const session = await this.#session(this.#name, () => ({
      inputs: this.#recording.graph.inputs,
      outputs: this.#outputs,
    }));
    return session.run(feedsOf(params, inputs));
  }

  /** Value and gradients. In one graph for both, what the gradient could compute again would be held until it does. */
  async vjp(params: Params, inputs: readonly Tensor[], dy: Tensor): Promise<Vjp> {
    const { outputs, held } = await this.forward(params, inputs);
    const [value, ...aux] = outputs as [Tensor, ...Tensor[]];
    return { value, aux, ...(await this.backward(params, inputs, held, dy).finally(() => this.giveBack(held))) };
  }

  /** The function alone; `backward` starts from what is held, until that is given back. */
  async forward(
    params: Params,
    inputs: readonly Tensor[],
  ): Promise<{ outputs: readonly Tensor[]; held: readonly Held[] }> {
    const session = await this.#session(`${this.#name}: forward`, () => this.#split.forward);
    const held = this.#options.memory.take(this, this.residualBytes, () => session.hold(this.#valueCount));
    try {
      return { outputs: await session.run(feedsOf(params, inputs), held), held };
    } catch (error) {
      this.giveBack(held);
      throw error;
    }
  }

  async backward(
    params: Params,
    inputs: readonly Tensor[],
    held: readonly Held[],
    dy: Tensor,
  ): Promise<Pick<Vjp, 'inputs' | 'params'>> {
    const session = await this.#session(`${this.#name}: backward`, () => this.#split.backward);
    const residuals = Object.fromEntries(held.map((value, i) => [residualName(i), value]));
    return this.#gradients(await session.run({ ...feedsOf(params, inputs), ...residuals, [gradientName]: dy }));
  }

  giveBack(held: readonly Held[]): void {
    this.#options.memory.give(this, held, this.residualBytes);
  }

  async release(): Promise<void> {
    const sessions = [...this.#sessions.values()];
    this.#sessions.clear();
    this.#options.memory.forget(this);
    for (const session of sessions) await (await session).release();
  }

  get #valueCount(): number {
    return this.#recording.outputs.values.length;
  }

  get #split(): ReturnType<typeof split> {
    this.#cut ??= split(
      this.#recording.graph.inputs,
      this.#outputs.slice(0, this.#valueCount),
      this.#outputs.slice(this.#valueCount),
    );
    return this.#cut;
  }

  #gradients(results: readonly Tensor[]): Pick<Vjp, 'inputs' | 'params'> {
    const { inputs, params } = this.#recording.outputs;
    return {
      inputs: results.slice(0, inputs.length),
      params: Object.fromEntries(Object.keys(params).map((path, i) => [path, results[inputs.length + i]!])),
    };
  }

  #session(name: string, graphOf: () => Graph): Promise<Session> {
    if (!this.#sessions.has(name)) {
      const session = this.#start(name, graphOf());
      session.catch(() => this.#sessions.delete(name));
      this.#sessions.set(name, session);
    }
    return this.#sessions.get(name)!;
  }

  async #start(name: string, recorded: Graph): Promise<Session> {
    const { weights, session: options, onCompile, checkAttention } = this.#options;
    const started = performance.now();
    onCompile?.({ name });
    const outputs = await foldConstants(recorded.outputs, evaluate);
    const nodes = nodesOf(outputs);
    refuseFaults(name, nodes, options.device);
    const used = new Set([...nodes.flatMap(dependencies), ...outputs]);
    await weights.place(weightsOf([...used]));
    // those declared have to be fed
    const graph: Graph = { inputs: recorded.inputs.filter((input) => used.has(input)), outputs };
    const model = encodeModel(graph, weights.locate, name);
    const relayout =
      [...used].reduce((sum, value) => sum + (value?.source.kind === 'weight' ? bytesOf(value) : 0), 0) <= smallModel;
    const session = await startSession(model, outputs, { relayout, ...options }).catch(explain(name, nodes, options));
    if (nodes.some(({ op }) => op === 'MultiHeadAttention')) await checkAttention();
    onCompile?.({ name, nodes: nodes.length, seconds: (performance.now() - started) / 1000, graph, model });
    return {
      ...session,
      run: (feeds, into) => session.run(feeds, into).catch(explain(name, nodes, options)),
    };
  }
}

/** Bytes of weights up to which a second copy of some is worth it. */
const smallModel = 2 ** 28;

/** The values of a graph without inputs. */
async function evaluate(graph: Graph): Promise<readonly ArrayLike<number>[]> {
  const session = await startSession(
    encodeModel(graph, () => ({ file: '', offset: 0, length: 0 })),
    graph.outputs,
    { device: 'cpu', threads: 1 },
  );
  const results = await session.run({});
  await session.release();
  const values = results.map((result) => result.dataSync());
  dispose(results);
  return values;
}

/** Says what failed, and what takes most memory in it. */
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

function feedsOf(params: Params, inputs: readonly Tensor[]): Record<string, Tensor> {
  const leaves = Object.entries(trainable(params)).map(([path, leaf]) => [leafName(path), leaf as Tensor] as const);
  return Object.fromEntries([...inputs.map((x, i) => [inputName(i), x] as const), ...leaves]);
}

function weightsOf(values: readonly (Value | undefined)[]): Placed[] {
  return values.flatMap((value) =>
    value?.source.kind === 'weight' ? [{ leaf: value.source.leaf, dtype: value.dtype }] : [],
  );
}
