import { tensor, type Tensor } from '@tensorflow/tfjs-core';
import { tensorType, type Value } from '../graph/graph.js';

/** The devices of sessions. Which ones exist depends on the platform and on the installed libraries. */
export const devices = ['cpu', 'webgpu', 'cuda', 'tensorrt', 'coreml', 'dml'] as const;
export type Device = (typeof devices)[number];

export interface SessionOptions {
  readonly device: Device;
  /** Threads per operator; by default the environment's OMP_NUM_THREADS, or one for each physical core. */
  readonly threads?: number;
  /**
   * Rearranges the weights of convolutions, and computes what depends on weights alone once, when it starts: a tenth
   * faster, but needs a second copy of weights and time to start.
   */
  readonly relayout?: boolean;
  /** Writes ONNX Runtime's profile of every run to files whose names begin with this path. */
  readonly profile?: string;
}

/** Memory that one session writes an output to and another reads as an input. Its runtime alone looks inside. */
export interface OutputBuffer {
  /** Frees the memory. */
  dispose(): void;
}

/** Inputs by name. A session ignores those that its graph does not use. */
export type Feeds = Readonly<Record<string, Tensor | OutputBuffer>>;

/** A compiled graph. */
export interface Session {
  /**
   * Runs the graph and returns its outputs, which belong to the caller.
   * @param into buffers that receive the last outputs, which are then not returned
   */
  run(feeds: Feeds, into?: readonly OutputBuffer[]): Promise<Tensor[]>;
  /** Allocates buffers for the outputs from index `first` on. */
  allocateOutputs(first: number): readonly OutputBuffer[];
  release(): Promise<void>;
}

/** A graph to start a session of. */
export interface SessionGraph {
  /** An ONNX file. */
  readonly model: Uint8Array;
  /** The model's outputs, in order. */
  readonly outputs: readonly Value[];
  /** The number of the last outputs that runs write into buffers; 0 by default. */
  readonly buffered?: number;
}

/** A value as runtimes take it. */
export interface RuntimeValue {
  readonly dtype: 'bool' | 'int32' | 'float32';
  readonly data: Uint8Array | Int32Array | Float32Array;
  readonly shape: readonly number[];
}

/** The values of a tensor for a runtime. */
export function valueOf(x: Tensor): RuntimeValue {
  const values = x.dataSync();
  const { shape } = x;
  if (x.dtype === 'bool') return { dtype: 'bool', data: Uint8Array.from(values), shape };
  if (x.dtype === 'int32') return { dtype: 'int32', data: values as Int32Array, shape };
  // tfjs's cpu backend does not convert the values of a cast tensor.
  return { dtype: 'float32', data: values instanceof Float32Array ? values : Float32Array.from(values), shape };
}

/** The tensor of an output's values, as a runtime returns them. */
export const tensorOf = (data: unknown, { shape, dtype }: Value): Tensor =>
  tensor(data as Float32Array, [...shape], tensorType(dtype));
