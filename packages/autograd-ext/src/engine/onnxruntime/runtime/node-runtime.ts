import { Tensor } from '@tensorflow/tfjs-core';
import type { Tensor as OrtTensor } from 'onnxruntime-node';
import { startNodeSession } from './node-session.js';
import { findRuntime } from './onnx-runtime.js';
import type { OnnxRuntime } from './runtime.js';
import { threadCount } from './thread-count.js';
import { tensorOf, valueOf, type Feeds, type Session, type SessionGraph, type SessionOptions } from './session.js';
import { WeightFiles } from './weight-files.js';

/** ONNX Runtime in Node: the package onnxruntime-node, which maps the weights from files. */
export const nodeRuntime: OnnxRuntime = {
  startSession,
  createWeights: () => new WeightFiles(),
  async freeMemory() {
    const { freemem } = await import('node:os');
    return freemem();
  },
};

async function startSession(graph: SessionGraph, options: SessionOptions): Promise<Session> {
  const { runtime, problem } = await findRuntime();
  if (!runtime) throw new Error(`OnnxRuntimeEngine: ${problem.reason}. ${problem.remedy}\nOr use the tfjs engine.`);
  const session = await startNodeSession(runtime, graph, {
    ...options,
    threads: options.threads ?? (await threadCount()),
  });
  return {
    async run(feeds, into) {
      const values = session.inputNames.map((name) => [name, toRuntime(feeds[name]!)] as const);
      const results = await session.run(Object.fromEntries(values), into as readonly OrtTensor[] | undefined);
      return results.map((data, i) => tensorOf(data, graph.outputs[i]!));
    },
    allocateOutputs: (first) => session.allocateOutputs(first),
    release: () => session.release(),
  };
}

const toRuntime = (x: Feeds[string]) => (x instanceof Tensor ? valueOf(x) : (x as OrtTensor));
