import { Tensor } from '@tensorflow/tfjs-core';
import { bytesOf, computedBytes, sumOf, weightsOf, type Graph } from '../graph/graph.js';
import { nodeRuntime } from './node-runtime.js';
import { findRuntime } from './onnx-runtime.js';
import { graphMemory } from './peak-memory.js';
import type { OnnxRuntime, WeightStore } from './runtime.js';
import { SessionProcess } from './session-process.js';
import { threadCount } from './thread-count.js';
import {
  tensorOf,
  valueOf,
  type Feeds,
  type OutputBuffer,
  type Session,
  type SessionGraph,
  type SessionOptions,
} from './session.js';

/**
 * ONNX Runtime in a process of its own, which all engines of this one share: it starts with the first session and ends
 * with the last. Where a program may not start processes, or was bundled without the file of this one, sessions run as
 * those of `nodeRuntime`.
 */
export const processRuntime: OnnxRuntime = { ...nodeRuntime, startSession };

/** Bytes of weights or activations from which on a graph runs in a process of its own. */
const worthProcess = 2 ** 28;
/** Bytes of inputs up to which it does: they and their gradients are copied from process to process in every run. */
const copyLimit = 2 ** 26;

/** Whether a graph takes long enough, and copies little enough, to run in a process of its own. */
export function isWorthProcess(graph: Graph): boolean {
  if (sumOf(graph.inputs.map(bytesOf)) > copyLimit) return false;
  if (sumOf(weightsOf(graph.outputs).values()) >= worthProcess) return true;
  return computedBytes(graph.outputs) >= worthProcess && graphMemory(graph).activations >= worthProcess;
}

/** The process, once a session needed it; undefined where sessions cannot have one. */
let current: Promise<SessionProcess | undefined> | undefined;
/** Whether a process has started before: from then on, one that does not is an error. */
let hasStarted = false;

/** Counts a session in, and starts the process if there is none or it has ended. */
async function enter(): Promise<SessionProcess | undefined> {
  const entered = (current ??= start());
  const host = await entered;
  if (!host?.problem) {
    if (host) host.users++;
    return host;
  }
  if (current === entered) current = undefined;
  return enter();
}

/** Counts a session or a buffer out, and ends the process after the last one. */
function leave(host: SessionProcess): void {
  if (--host.users === 0) host.end();
}

async function start(): Promise<SessionProcess | undefined> {
  if ((await findRuntime()).problem) return undefined; // which `nodeRuntime` explains
  try {
    const host = await SessionProcess.start();
    hasStarted = true;
    return host;
  } catch (error) {
    if (!hasStarted) return undefined;
    current = undefined;
    throw error;
  }
}

/** The memory of an output in the process, which knows it by a number. */
class ProcessBuffer implements OutputBuffer {
  static #count = 0;
  readonly #id = ProcessBuffer.#count++;
  readonly #host: SessionProcess;

  constructor(host: SessionProcess) {
    this.#host = host;
    host.users++;
  }

  /** @throws how the process of the buffer ended, if that is another one */
  idIn(host: SessionProcess): number {
    if (host !== this.#host) throw this.#host.problem!;
    return this.#id;
  }

  dispose(): void {
    this.#host.tell('free', { buffer: this.#id });
    leave(this.#host);
  }
}

async function startSession(graph: SessionGraph, options: SessionOptions, weights?: WeightStore): Promise<Session> {
  // Graphs without a store of weights are constants to fold, which takes a millisecond.
  const host = weights && (await enter());
  if (!host) return nodeRuntime.startSession(graph, options, weights);
  try {
    return await startIn(host, graph, options);
  } catch (error) {
    leave(host);
    throw error;
  }
}

let sessionCount = 0;

async function startIn(
  host: SessionProcess,
  { model, outputs }: SessionGraph,
  { profile, ...options }: SessionOptions,
): Promise<Session> {
  const session = sessionCount++;
  const { resolve } = await import('node:path');
  const inputNames = await host.request<readonly string[]>('start', {
    session,
    graph: { model, outputs: outputs.map(({ shape, dtype }) => ({ shape, dtype })) },
    options: {
      ...options,
      threads: options.threads ?? (await threadCount()),
      profile: profile && resolve(profile), // this process may have changed its folder
    },
  });
  return {
    async run(feeds, into = []) {
      const results = await host.request<readonly unknown[]>('run', {
        session,
        feeds: Object.fromEntries(inputNames.map((name) => [name, messageOf(host, feeds[name]!)])),
        into: (into as readonly ProcessBuffer[]).map((buffer) => buffer.idIn(host)),
        first: outputs.length - into.length,
      });
      return results.map((data, i) => tensorOf(data, outputs[i]!));
    },
    allocateOutputs: (first) => outputs.slice(first).map(() => new ProcessBuffer(host)),
    async release() {
      if (!host.problem) await host.request('release', { session });
      leave(host);
    },
  };
}

/** An input as the process takes it. */
const messageOf = (host: SessionProcess, x: Feeds[string]): object =>
  x instanceof Tensor ? valueOf(x) : { buffer: (x as ProcessBuffer).idIn(host) };
