import { memory, profile, scalar, tensor, type Tensor } from '@tensorflow/tfjs-core';
import { elementCount, flattenTensors, type Params } from '../params.js';
import type { ModelFunction } from '../vjp.js';
import { tensorType, type Graph, type Value } from './onnxruntime/graph/graph.js';
import { optimize } from './onnxruntime/passes/optimize.js';
import { split } from './onnxruntime/passes/split.js';
import {
  recordFunction,
  specOf,
  type Derivative,
  type RecordedFunction,
  type Spec,
} from './onnxruntime/recording/record-function.js';
import { graphMemory, type GraphMemory } from './onnxruntime/runtime/peak-memory.js';
import { isWorthProcess } from './onnxruntime/runtime/process-runtime.js';
import { relayoutLimit } from './onnxruntime/runtime/session.js';
import type { Precision } from '../precision.js';
import { peakOfKernels } from './tfjs-memory.js';

/** The memory that a function needs for one set of shapes and weights, on either engine. */
export interface FunctionMemory {
  readonly name: string;
  /** The outputs of the function. */
  readonly outputs: readonly Spec[];
  /** The gradients of its inputs. */
  readonly gradients: readonly Spec[];
  /** The paths of its trainable leaves. */
  readonly paths: readonly string[];
  /** Bytes that a forward run on ONNX Runtime saves for backward. */
  readonly residualBytes: number;
  /** The memory of the sessions of ONNX Runtime. */
  readonly graphs: Readonly<Record<'plain' | 'forward' | 'backward', () => GraphMemory>>;
  /** Whether its sessions run in a process of their own. */
  readonly hasProcess: boolean;
  /** Peak bytes on tfjs, without weights and inputs. */
  readonly tfjsPeak: number;
}

/** Records a function, and with `derivative` its gradient, and measures the memory that a run would need. */
export async function measureFunction(
  name: string,
  precision: Precision,
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
  return functionMemory(name, recorded!, precision, peakOfKernels(kernels, before + weights));
}

function functionMemory(
  name: string,
  recorded: RecordedFunction,
  precision: Precision,
  tfjsPeak: number,
): FunctionMemory {
  const { graph, outputs } = recorded;
  const optimized = optimize(recorded, precision);
  const count = outputs.values.length;
  const halves = split(graph.inputs, optimized.slice(0, count), optimized.slice(count));
  const memoryOf = (graphOf: () => Graph) => () => graphMemory(graphOf(), { relayout: hasSmallWeights(optimized) });
  return {
    name,
    outputs: outputs.values.map(specOf),
    gradients: outputs.inputs.map(specOf),
    paths: Object.keys(outputs.params),
    residualBytes: halves.residualBytes,
    graphs: {
      plain: memoryOf(() => ({ inputs: graph.inputs, outputs: optimized.slice(0, count) })),
      forward: memoryOf(() => halves.forward),
      backward: memoryOf(() => halves.backward),
    },
    hasProcess: isWorthProcess(graph),
    tfjsPeak,
  };
}

/** Whether sessions rearrange the weights of convolutions, as in `Program`. */
const hasSmallWeights = (outputs: readonly Value[]): boolean =>
  [...graphMemory({ inputs: [], outputs }).weights.values()].reduce((sum, bytes) => sum + bytes, 0) <= relayoutLimit;

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
