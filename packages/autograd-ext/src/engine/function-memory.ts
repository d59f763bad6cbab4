import { memory, profile, scalar, tensor, type Tensor } from '@tensorflow/tfjs-core';
import { elementCount, flattenTensors, type Params } from '../params.js';
import type { ModelFunction } from '../vjp.js';
import type { MemoryUser } from './memory-budget.js';
import { relayoutLimit, sumOf, tensorType, weightsOf, type Graph } from './onnxruntime/graph/graph.js';
import { optimize } from './onnxruntime/passes/optimize.js';
import { activationsOf, fittingSplit } from './onnxruntime/runtime/fitting-split.js';
import {
  recordFunction,
  specOf,
  type Derivative,
  type RecordedFunction,
  type Spec,
} from './onnxruntime/recording/record-function.js';
import { graphMemory, type GraphMemory } from './onnxruntime/runtime/peak-memory.js';
import { isWorthProcess } from './onnxruntime/runtime/process-runtime.js';
import type { Precision } from '../precision.js';
import { peakOfKernels } from './tfjs-memory.js';

/** The memory that a function needs for one set of shapes and weights, on either engine. */
export interface FunctionMemory extends MemoryUser {
  readonly name: string;
  /** The outputs of the function. */
  readonly outputs: readonly Spec[];
  /** The gradients of its inputs. */
  readonly gradients: readonly Spec[];
  /** The paths of its trainable leaves. */
  readonly paths: readonly string[];
  /** Bytes that a forward run on ONNX Runtime saves for backward. */
  readonly residualBytes: number;
  /** The memory of the sessions of ONNX Runtime; backward may have several. */
  readonly graphs: Readonly<Record<'plain' | 'forward' | 'backward', () => readonly SessionMemory[]>>;
  /** Whether its sessions run in a process of their own. */
  readonly hasProcess: boolean;
  /** Peak bytes on tfjs, without weights and inputs. */
  readonly tfjsPeak: number;
}

/** The memory of a session, and of what it leaves for later ones. */
export interface SessionMemory extends GraphMemory {
  /** Bytes of the results of earlier sessions that are held while it runs. */
  readonly held: number;
}

/** The settings that decide how a function runs. */
export interface RunSettings {
  readonly precision: Precision;
  /** The memory for a run of a function with its gradient, given the weights that it reads. */
  readonly limit: (weights: ReadonlyMap<object, number>) => number;
}

/** Records a function, and with `derivative` its gradient, and measures the memory that a run would need. */
export async function measureFunction(
  name: string,
  settings: RunSettings,
  fn: ModelFunction,
  params: Params,
  inputs: readonly Spec[],
  derivative?: Derivative,
): Promise<FunctionMemory> {
  let recorded: RecordedFunction | undefined;
  const before = memory().numBytes;
  const { kernels } = await profile(() => {
    recorded = recordFunction(fn, params, inputs, derivative);
    return [];
  });
  const weights = Object.values(flattenTensors(params)).reduce((sum, { shape }) => sum + 4 * elementCount(shape), 0);
  return functionMemory(name, recorded!, settings, peakOfKernels(kernels, before + weights));
}

function functionMemory(
  name: string,
  recorded: RecordedFunction,
  { precision, limit }: RunSettings,
  tfjsPeak: number,
): FunctionMemory {
  const { graph, outputs } = recorded;
  const optimized = optimize(recorded, precision, { device: 'cpu' });
  const count = outputs.values.length;
  const weights = weightsOf(optimized);
  const relayout = sumOf(weights.values()) <= relayoutLimit;
  const values = optimized.slice(0, count);
  const gradients = optimized.slice(count);
  const room = gradients.length > 0 ? limit(weights) : Infinity;
  const parts = fittingSplit(graph.inputs, values, gradients, { limit: room, relayout });
  const plain = graphMemory({ inputs: graph.inputs, outputs: values }, { relayout });
  const memoryOf = (of: Graph, held = 0): SessionMemory => ({ ...graphMemory(of, parts), held });
  return {
    name,
    outputs: outputs.values.map(specOf),
    gradients: outputs.inputs.map(specOf),
    paths: Object.keys(outputs.params),
    weights,
    activationBytes: gradients.length > 0 ? activationsOf(parts) : plain.activations + plain.outputs,
    residualBytes: parts.residualBytes,
    graphs: {
      plain: () => [{ ...plain, held: 0 }],
      forward: () => [memoryOf(parts.forward)],
      backward: () => parts.backward.map((stage) => memoryOf(stage.graph, stage.heldBytes)),
    },
    hasProcess: isWorthProcess(graph),
    tfjsPeak,
  };
}

/** Gradients of zeros; those of weights are scalars, since nobody reads them in a dry run. */
export function zeroGradients({ gradients, paths }: FunctionMemory): {
  inputs: Tensor[];
  params: Record<string, Tensor>;
} {
  return { inputs: gradients.map(zerosOf), params: Object.fromEntries(paths.map((path) => [path, scalar(0)])) };
}

let zeros = new Float32Array(0);

/** A tensor of zeros. On tfjs's cpu backend all of them share one array. */
export function zerosOf({ shape, dtype }: Spec): Tensor {
  const size = elementCount(shape);
  if (zeros.length < size) zeros = new Float32Array(size);
  return tensor(dtype === 'float32' ? zeros.subarray(0, size) : new Int32Array(size), [...shape], tensorType(dtype));
}
