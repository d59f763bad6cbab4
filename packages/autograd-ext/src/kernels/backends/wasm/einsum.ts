import {
  backend_util,
  matMul,
  registerKernel,
  reshape,
  sum,
  tidy,
  transpose,
  type Tensor,
  type Tensor3D,
} from '@tensorflow/tfjs-core';
import { filterLabels, parseEquation, type EinsumAttrs } from '../../geometry/einsum-equation.js';

/** Adds the kernel of tf.einsum, which the wasm backend lacks. */
export function addEinsumOnWasm(): void {
  registerKernel({
    kernelName: 'Einsum',
    backendName: 'wasm',
    kernelFunc: ({ inputs, attrs }) =>
      tidy(() => contract(Object.values(inputs) as Tensor[], attrs as unknown as EinsumAttrs)),
  });
}

/**
 * tf.einsum of one or two operands as a single batched matrix product.
 * @throws if an axis has different sizes in the operands, or the equation is one that tfjs does not support
 */
export function contract(operands: readonly Tensor[], attrs: EinsumAttrs): Tensor {
  const { terms, output } = parseEquation(attrs);
  const { allDims, idDims } = backend_util.decodeEinsumEquation(attrs.equation, operands.length);
  backend_util.checkEinsumDimSizes(allDims.length, idDims, operands as Tensor[]);
  const [a, b] = terms as [string, string | undefined];
  if (b === undefined) return arrange(operands[0]!, a, output);
  const size = (label: string) =>
    a.includes(label) ? operands[0]!.shape[a.indexOf(label)]! : operands[1]!.shape[b.indexOf(label)]!;
  const sizes = (labels: string) => Array.from(labels).map(size);
  const total = (labels: string) => sizes(labels).reduce((x, y) => x * y, 1);
  const batch = filterLabels(a, (label) => b.includes(label) && output.includes(label));
  const inner = filterLabels(a, (label) => b.includes(label) && !output.includes(label));
  const rows = filterLabels(a, (label) => !b.includes(label) && output.includes(label));
  const columns = filterLabels(b, (label) => !a.includes(label) && output.includes(label));
  const left = reshape(arrange(operands[0]!, a, batch + rows + inner), [total(batch), total(rows), total(inner)]);
  const right = reshape(arrange(operands[1]!, b, batch + inner + columns), [
    total(batch),
    total(inner),
    total(columns),
  ]);
  const product = matMul(left as Tensor3D, right as Tensor3D); // [batch, rows, columns]
  return arrange(reshape(product, sizes(batch + rows + columns)), batch + rows + columns, output);
}

/** Sums over the axes that `order` does not name, and transposes the others into its order. */
function arrange(x: Tensor, labels: string, order: string): Tensor {
  const remaining = filterLabels(labels, (label) => order.includes(label));
  const axes = Array.from(labels).flatMap((label, axis) => (remaining.includes(label) ? [] : [axis]));
  const reduced = axes.length ? sum(x, axes) : x;
  return transpose(
    reduced,
    Array.from(order).map((label) => remaining.indexOf(label)),
  );
}
