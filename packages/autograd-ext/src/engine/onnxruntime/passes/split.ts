import {
  bytesOf,
  constantNodes,
  dependencies,
  nodesOf,
  type Graph,
  type GraphNode,
  type Value,
} from '../graph/graph.js';
import { replaceValues } from '../graph/replace-values.js';
import { elementCount } from '../../../params.js';

/** A function and its gradient as two graphs. The residuals are the values that forward saves for backward. */
export interface Split {
  /** Computes the function's outputs, then the residuals. */
  readonly forward: Graph;
  /** Computes the gradients; its inputs are those of the whole graph, then the residuals. */
  readonly backward: Graph;
  readonly residualBytes: number;
}

/** The name of the backward graph's input for residual `index`. */
export const residualName = (index: number): string => `residual.${index}`;

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
 * Splits the graph of a function and its gradient into a forward and a backward graph.
 * @param inputs of the whole graph
 * @param values the function's outputs
 * @param gradients the gradients
 */
export function split(inputs: readonly Value[], values: readonly Value[], gradients: readonly Value[]): Split {
  const forwardNodes = new Set(nodesOf(values));
  const residuals = residualsOf(forwardNodes, nodesOf(gradients), gradients);
  const placeholders = residuals.map(({ shape, dtype }, i): Value => ({
    shape,
    dtype,
    source: { kind: 'input', name: residualName(i) },
  }));
  const outputs = replaceValues(gradients, new Map(residuals.map((value, i) => [value, placeholders[i]!])));
  return {
    forward: { inputs, outputs: [...values, ...residuals] },
    backward: { inputs: [...inputs, ...placeholders], outputs },
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
