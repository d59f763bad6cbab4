import { segmentsOf } from './segments.js';
import { nameOf, placeholder, stagesOf, type Stage } from './stages.js';
import {
  bytesOf,
  constantNodes,
  dependencies,
  nodesOf,
  type Graph,
  type GraphNode,
  type Value,
} from '../graph/graph.js';
import { elementCount } from '../../../params.js';

/** A function and its gradient as several graphs. The residuals are the values that forward saves for backward. */
export interface Split {
  /** Computes the function's outputs, then the residuals. */
  readonly forward: Graph;
  /** The parts of backward, in the order in which they run. */
  readonly backward: readonly Stage[];
  /** The names under which backward reads the residuals. */
  readonly residuals: readonly string[];
  readonly residualBytes: number;
}

// Operators that are cheaper to recompute than to save: they read and write each element a few times.
const cheap = new Set([
  'Reshape',
  'Transpose',
  'Split',
  'Slice',
  'Concat',
  'Expand',
  'Cast',
  'Add',
  'Sub',
  'Mul',
  'Div',
  'Sqrt',
  'Reciprocal',
  'Sigmoid',
  'Erf',
  'Exp',
  'Gelu',
  'QuickGelu',
  'InstanceNormalization',
  'LayerNormalization',
  'ReduceMean',
  'ReduceSum',
  'Where',
  'Clip',
  'Resize',
  'Neg',
  'Tanh',
  'Relu',
  'Softmax',
]);

/**
 * Matmuls and convolutions with a short inner dimension. Up to 64 multiplications per element, two cores recompute the
 * product as fast as ONNX Runtime's binding copies it. Up to 512, recomputing a gigabyte takes three seconds, which is
 * worth the memory of large tensors.
 */
const isShallow = ({ op, inputs, outputs: [product] }: GraphNode): boolean =>
  (op === 'Gemm' || op === 'Conv') &&
  depth(op, inputs[0]!, inputs[1]!, product!) <= (bytesOf(product!) >= 2 ** 23 ? 512 : 64);

/** Multiplications for one element of a product. */
const depth = (op: string, a: Value, b: Value, product: Value): number =>
  op === 'Conv' ? elementCount(b.shape.slice(1)) : elementCount(a.shape) / product.shape[0]!;

/**
 * Splits the graph of a function and its gradient into a forward graph and the parts of backward, one for each segment
 * into which the function is cut. With one segment, forward saves all values that are costly to recompute. With
 * several, it saves only the values that cross from one segment to another, and each part computes its segment again:
 * backward then needs the memory of one segment, and the time of one more forward run.
 * @param inputs of the whole graph
 * @param values the function's outputs
 * @param gradients the gradients
 * @param count the number of segments
 */
export function split(
  inputs: readonly Value[],
  values: readonly Value[],
  gradients: readonly Value[],
  count = 1,
): Split {
  const segments = segmentsOf(values, count);
  const saved =
    count === 1 ? residualsOf(new Set(nodesOf(values)), nodesOf(gradients), gradients) : segments.boundaries;
  const placeholders = new Map([...saved].map((value, i) => [value, placeholder(value, `residual.${i}`)]));
  const backward = stagesOf(gradients, segments, placeholders);
  const read = new Set(backward.flatMap(({ graph }) => graph.inputs));
  const residuals = [...saved].filter((value) => read.has(placeholders.get(value)!));
  return {
    forward: { inputs, outputs: [...values, ...residuals] },
    backward,
    residuals: residuals.map((value) => nameOf(placeholders.get(value)!)),
    residualBytes: residuals.reduce((sum, value) => sum + bytesOf(value), 0),
  };
}

/**
 * Chooses the values to save for backward: those of the function that the gradient reads. Walks from the outputs to the
 * inputs and replaces each value that is cheap to recompute by the values it is computed from.
 */
function residualsOf(forward: ReadonlySet<GraphNode>, all: readonly GraphNode[], gradients: readonly Value[]): Value[] {
  const needed = new Set<Value>();
  const constants = constantNodes(all); // each session computes these from the weights
  const need = (value: Value | undefined) =>
    value?.source.kind === 'node' &&
    forward.has(value.source.node) &&
    !constants.has(value.source.node) &&
    needed.add(value);
  for (const node of all) if (!forward.has(node)) dependencies(node).forEach(need);
  gradients.forEach(need);
  for (const node of all.filter((n) => forward.has(n)).reverse()) {
    const recomputed = node.outputs.filter((value) => needed.has(value));
    if (recomputed.length === 0 || !(cheap.has(node.op) || isShallow(node))) continue;
    recomputed.forEach((value) => needed.delete(value));
    dependencies(node).forEach(need);
  }
  return [...needed];
}
