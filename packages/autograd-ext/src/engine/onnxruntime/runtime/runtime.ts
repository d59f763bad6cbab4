import type { WeightLocation } from '../graph/encode.js';
import type { Dtype } from '../graph/graph.js';
import type { Session, SessionGraph, SessionOptions } from './session.js';

/** ONNX Runtime where it runs: `nodeRuntime`, or in browsers `webRuntime`. */
export interface OnnxRuntime {
  /**
   * Starts a session.
   * @param weights the frozen weights that the model refers to; none if it has none
   * @throws if ONNX Runtime cannot be loaded, or cannot run the model on the device
   */
  startSession(graph: SessionGraph, options: SessionOptions, weights?: WeightStore): Promise<Session>;
  /** Creates the store of the frozen weights of one engine. */
  createWeights(): WeightStore;
  /** The memory that is free here, in bytes. */
  freeMemory(): Promise<number>;
}

/** A weight and the number format in which a graph reads it. */
export interface WeightRequest {
  readonly leaf: object;
  readonly dtype: Dtype;
}

/** The frozen weights of an engine where its sessions find them. */
export interface WeightStore {
  /**
   * Makes sure that every weight is in a file.
   * @throws if values of a file are damaged or not finite
   */
  place(weights: Iterable<WeightRequest>): Promise<void>;
  /** The location of a weight that has been placed. */
  readonly locate: (leaf: object, dtype: Dtype) => WeightLocation;
  /** The contents of files that are in memory, by the name that a location has for them. */
  readonly contents?: ReadonlyMap<string, Uint8Array>;
  /** Forgets all weights. */
  dispose(): Promise<void>;
}
