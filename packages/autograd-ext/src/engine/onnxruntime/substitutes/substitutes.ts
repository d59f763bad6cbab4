import { table } from '../../../outside/record.js';
import type { GraphNode, Value } from '../graph/graph.js';
import { replaceNodes } from '../graph/replace-values.js';
import { composedAttention } from './attention.js';
import { borderedConv } from './conv.js';
import { emptyProduct } from './empty-product.js';
import { groupedTranspose } from './grouped-transpose.js';
import { scatteredByWindows } from './max-pool-gradient.js';
import { repeatedPower } from './power.js';
import { unrolledScan } from './scan.js';
import { cosine, sine, tangent } from './sine.js';
import { slicedTwice } from './slice.js';
import { transposedIntegers } from './transpose.js';

/** Computes what a node computes from other operators; undefined if the node has to stay. */
export type Substitute = (node: GraphNode) => Value | readonly Value[] | undefined;

/**
 * Operators that ONNX Runtime 1.30 computes wrongly, not precisely, or not at all on WebGPU, or on the CPU instead:
 * Scan and transposes of booleans. Found by running the tests of all kernels with `TEST_DEVICES=webgpu`.
 */
export const webgpuSubstitutes = table<Substitute>({
  Conv: borderedConv,
  ConvTranspose: groupedTranspose,
  Cos: cosine,
  Gemm: emptyProduct,
  MatMul: emptyProduct,
  Pow: repeatedPower,
  Scan: unrolledScan,
  ScatterElements: scatteredByWindows,
  Sin: sine,
  Slice: slicedTwice,
  Tan: tangent,
  Transpose: transposedIntegers,
});

/** Attention from products, for devices and drivers that compute ONNX Runtime's own operator wrongly. */
export const attentionSubstitute = table<Substitute>({ MultiHeadAttention: composedAttention });

/** Replaces operators by substitutes, also in the bodies of loops that are unrolled. */
export function substitute(
  outputs: readonly Value[],
  substitutes: Readonly<Partial<Record<string, Substitute>>>,
): readonly Value[] {
  let isChanged = false;
  const replaced = replaceNodes(outputs, (node) => {
    const values = substitutes[node.op]?.(node);
    isChanged ||= values !== undefined;
    return values;
  });
  return isChanged ? substitute(replaced, substitutes) : outputs;
}
