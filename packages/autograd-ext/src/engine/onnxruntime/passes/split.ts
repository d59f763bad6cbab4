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

/** A function and its gradient as two graphs: what the first one leaves behind is what the second one starts from. */
export interface Split {
  /** The function's outputs, then the residuals. */
  readonly forward: Graph;
  /** The gradients; its inputs are those of the whole graph, then the residuals. */
  readonly backward: Graph;
  readonly residualBytes: number;
}

/** The name of an input that takes a residual. */
export const residualName = (index: number): string => `residual.${index}`;

// Cheaper to compute again than to keep: all that reads and writes each element a few times.
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
 * Products that multiply few numbers for each of theirs. Up to 64, two cores compute them as fast as ONNX Runtime's
 * binding copies them; up to 512, a gigabyte that is not kept takes three seconds, which large tensors are worth.
 */
const isShallow = ({ op, inputs, outputs: [product] }: GraphNode): boolean =>
  (op === 'Gemm' || op === 'Conv') &&
  depth(op, inputs[0]!, inputs[1]!, product!) <= (bytesOf(product!) >= 2 ** 23 ? 512 : 64);

/** Multiplications for one element of a product. */
const depth = (op: string, a: Value, b: Value, product: Value): number =>
  op === 'Conv' ? elementCount(b.shape.slice(1)) : elementCount(a.shape) / product.shape[0]!;

/**
 * Cuts a graph of values and their gradients in two.
 * @param inputs of the whole graph
 * @param values outputs of the function
 * @param gradients outputs of its gradient
 */
export function split(inputs: readonly Value[], values: readonly Value[], gradients: readonly Value[]): Split {
  const forwardNodes = new Set(nodesOf(values));
  const residuals = residualsOf(forwardNodes, nodesOf(gradients), gradients);
  const stands = residuals.map(({ shape, dtype }, i): Value => ({
    shape,
    dtype,
    source: { kind: 'input', name: residualName(i) },
  }));
  const replaced = replaceValues(gradients, new Map(residuals.map((value, i) => [value, stands[i]!])));
  return {
    forward: { inputs, outputs: [...values, ...residuals] },
    backward: { inputs: [...inputs, ...stands], outputs: replaced },
    residualBytes: residuals.reduce((sum, value) => sum + bytesOf(value), 0),
  };
}

/**
 * What the gradient has to be told of the function: from its end to its beginning, what is cheap is traced to what it
 * is made of.
 */
function residualsOf(forward: ReadonlySet<GraphNode>, all: readonly GraphNode[], gradients: readonly Value[]): Value[] {
  const needed = new Set<Value>();
  const fixed = constantNodes(all); // what is made of weights alone, each session has
  const need = (value: Value | undefined) =>
    value?.source.kind === 'node' &&
    forward.has(value.source.node) &&
    !fixed.has(value.source.node) &&
    needed.add(value);
  for (const node of all) if (!forward.has(node)) dependencies(node).forEach(need);
  gradients.forEach(need);
  for (const node of all.filter((n) => forward.has(n)).reverse()) {
    const asked = node.outputs.filter((value) => needed.has(value));
    if (asked.length === 0 || !(cheap.has(node.op) || isShallow(node))) continue;
    asked.forEach((value) => needed.delete(value));
    dependencies(node).forEach(need);
  }
  return [...needed];
}
