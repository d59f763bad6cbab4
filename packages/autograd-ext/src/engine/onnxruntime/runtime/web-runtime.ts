import { Tensor } from '@tensorflow/tfjs-core';
import { outputName } from '../graph/encode.js';
import type { OnnxRuntime, WeightStore } from './runtime.js';
import {
  tensorOf,
  valueOf,
  type OutputBuffer,
  type Session,
  type SessionGraph,
  type SessionOptions,
} from './session.js';
import { WeightMemory } from './weight-memory.js';

/** A value of onnxruntime-web. */
interface WebTensor {
  readonly data: unknown;
  dispose(): void;
}

/** The parts of the package onnxruntime-web that `webRuntime` uses. */
export interface OnnxRuntimeWeb {
  readonly InferenceSession: {
    create(
      model: Uint8Array,
      options: object,
    ): Promise<{
      readonly inputNames: readonly string[];
      run(feeds: Record<string, never>): Promise<Readonly<Record<string, WebTensor>>>;
      release(): Promise<void>;
    }>;
  };
  readonly Tensor: new (dtype: never, data: never, shape: readonly number[]) => WebTensor;
}

/** An output that stays where the session computed it, for a later session. */
class WebBuffer implements OutputBuffer {
  value: WebTensor | undefined;

  dispose(): void {
    this.value?.dispose();
    this.value = undefined;
  }
}

/** Free memory cannot be asked for in browsers: a fourth of what WebAssembly can address, in bytes. */
const assumedMemory = 2 ** 30;

/**
 * ONNX Runtime in browsers, for `new OnnxRuntimeEngine({ runtime: webRuntime(ort) })`. Device 'cpu' is WebAssembly,
 * with threads where the page is cross-origin isolated; 'webgpu' keeps activations on the GPU between forward and
 * backward. The weights are in memory.
 * @param ort the package onnxruntime-web, or its entry onnxruntime-web/webgpu
 */
export function webRuntime(ort: OnnxRuntimeWeb): OnnxRuntime {
  return {
    startSession: (graph, options, weights) => startSession(ort, graph, options, weights),
    createWeights: () => new WeightMemory(),
    freeMemory: () => Promise.resolve(assumedMemory),
  };
}

async function startSession(
  ort: OnnxRuntimeWeb,
  { model, outputs, buffered = 0 }: SessionGraph,
  { device }: SessionOptions,
  weights: WeightStore | undefined,
): Promise<Session> {
  const returned = outputs.slice(0, outputs.length - buffered);
  const session = await ort.InferenceSession.create(model, {
    executionProviders: [device === 'cpu' ? 'wasm' : device],
    graphOptimizationLevel: 'extended', // at 'all', WebAssembly (1.30) computes no value for some outputs
    enableMemPattern: false,
    enableCpuMemArena: false,
    externalData: [...(weights?.contents ?? [])].map(([path, data]) => ({ path, data })),
    ...(device === 'webgpu' && { preferredOutputLocation: locations(returned.length, outputs.length) }),
    logSeverityLevel: 3,
  });
  return {
    async run(feeds, into = []) {
      const inputs = session.inputNames.map((name) => [name, toRuntime(ort, feeds[name]!)] as const);
      const results = await session.run(Object.fromEntries(inputs) as Record<string, never>);
      (into as readonly WebBuffer[]).forEach((buffer, i) => {
        buffer.value?.dispose();
        buffer.value = results[outputName(returned.length + i)]!;
      });
      return returned.map((value, i) => tensorOf(results[outputName(i)]!.data, value));
    },
    allocateOutputs: (first) => outputs.slice(first).map(() => new WebBuffer()),
    release: () => session.release(),
  };
}

/** The places of outputs by name: the first on the CPU, from where they are read, the others on the GPU. */
const locations = (returned: number, count: number): Readonly<Record<string, 'cpu' | 'gpu-buffer'>> =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [outputName(i), i < returned ? 'cpu' : 'gpu-buffer']));

function toRuntime({ Tensor: Ort }: OnnxRuntimeWeb, x: Tensor | OutputBuffer): WebTensor {
  if (!(x instanceof Tensor)) return (x as WebBuffer).value!;
  const { dtype, data, shape } = valueOf(x);
  return new Ort(dtype as never, data as never, shape);
}
