import type { Tensor as OrtTensor } from 'onnxruntime-node';
import type { Runtime } from './onnx-runtime.js';
import type { RuntimeValue, SessionGraph, SessionOptions } from './session.js';

/** The shape and the number format of an output. */
type Output = Pick<SessionGraph['outputs'][number], 'shape' | 'dtype'>;

/** A compiled graph on plain values: what sessions in this process and in one of their own share. */
export interface NodeSession {
  /** The inputs that the graph uses. */
  readonly inputNames: readonly string[];
  /**
   * Runs the graph and returns the values of its outputs.
   * @param into buffers that receive the last outputs, whose values are then not returned
   */
  run(
    feeds: Readonly<Record<string, RuntimeValue | OrtTensor>>,
    into?: readonly OrtTensor[],
  ): Promise<readonly unknown[]>;
  /** Allocates buffers for the outputs from index `first` on. */
  allocateOutputs(first: number): readonly OrtTensor[];
  release(): Promise<void>;
}

/**
 * Starts a session of onnxruntime-node.
 * @param worthCollecting bytes of outputs from which on a run collects garbage; 256 MiB by default
 */
export declare function startNodeSession(
  runtime: Runtime,
  graph: { readonly model: Uint8Array; readonly outputs: readonly Output[] },
  options: SessionOptions,
  worthCollecting?: number,
): Promise<NodeSession>;

/** Frees what JavaScript no longer refers to. */
export declare function collectGarbage(): Promise<void>;
