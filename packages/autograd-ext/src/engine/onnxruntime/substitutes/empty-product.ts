import { add } from '../emit/builders.js';
import { constant, type GraphNode, type Value } from '../graph/graph.js';

/** A product over an inner dimension of 0 as zeros, or as the bias. @returns undefined for other products */
export function emptyProduct({ inputs: [a, , bias], outputs: [product] }: GraphNode): Value | undefined {
  if (!a!.shape.includes(0) || product!.shape.includes(0)) return undefined;
  const zeros = constant(0, product!.shape);
  return bias ? add(zeros, bias) : zeros;
}
