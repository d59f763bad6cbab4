import {
  backend_util,
  broadcastTo,
  einsum,
  matMul,
  registerGradient,
  registerKernel,
  reshape,
  sum,
  tidy,
  transpose,
  type Tensor,
  type Tensor3D,
} from '@tensorflow/tfjs-core';

/** The gradient of tf.einsum, which tfjs lacks, and the kernel that its wasm backend lacks. */
export function addEinsum(): void {
  registerGradient({
    kernelName: 'Einsum',
    saveAllInputs: true,
    gradFunc: (dy, operands, attrs) =>
      operands.map((_, i) => () => gradient(dy as Tensor, operands, i, attrs as unknown as EinsumAttrs)) as never,
  });
  registerKernel({
    kernelName: 'Einsum',
    backendName: 'wasm',
    kernelFunc: ({ inputs, attrs }) =>
      tidy(() => contract(Object.values(inputs) as Tensor[], attrs as unknown as EinsumAttrs)),
  });
}

/** The attributes of tfjs's kernel. */
export interface EinsumAttrs {
  readonly equation: string;
}

/** `dy` contracted with the other operand, and repeated along the axes that were summed in this operand alone. */
function gradient(dy: Tensor, operands: readonly Tensor[], index: number, attrs: EinsumAttrs): Tensor {
  const { terms, output } = parse(attrs);
  const own = terms[index]!;
  const others = terms.filter((_, i) => i !== index);
  const shared = only(own, (label) => [output, ...others].some((term) => term.includes(label)));
  const equation = `${[output, ...others].join(',')}->${shared}`;
  const dx = equation === `${output}->${output}` ? dy : einsum(equation, dy, ...operands.filter((_, i) => i !== index));
  const { shape } = operands[index]!;
  if (shared === own) return dx;
  return broadcastTo(
    reshape(
      dx,
      shape.map((n, axis) => (shared.includes(own[axis]!) ? n : 1)),
    ),
    shape,
  );
}

/** The product as one batched matrix product. */
export function contract(operands: readonly Tensor[], attrs: EinsumAttrs): Tensor {
  const { terms, output } = parse(attrs);
  const { allDims, idDims } = backend_util.decodeEinsumEquation(attrs.equation, operands.length);
  backend_util.checkEinsumDimSizes(allDims.length, idDims, operands as Tensor[]);
  const [a, b] = terms as [string, string | undefined];
  if (b === undefined) return arrange(operands[0]!, a, output);
  const size = (label: string) =>
    a.includes(label) ? operands[0]!.shape[a.indexOf(label)]! : operands[1]!.shape[b.indexOf(label)]!;
  const sizes = (labels: string) => Array.from(labels).map(size);
  const total = (labels: string) => sizes(labels).reduce((x, y) => x * y, 1);
  const batch = only(a, (label) => b.includes(label) && output.includes(label));
  const inner = only(a, (label) => b.includes(label) && !output.includes(label));
  const [left, right] = [
    only(a, (label) => !b.includes(label) && output.includes(label)),
    only(b, (label) => !a.includes(label) && output.includes(label)),
  ];
  const matrices = reshape(arrange(operands[0]!, a, batch + left + inner), [
    total(batch),
    total(left),
    total(inner),
  ]) as Tensor3D;
  const product = matMul(
    matrices,
    reshape(arrange(operands[1]!, b, batch + inner + right), [total(batch), total(inner), total(right)]) as Tensor3D,
  );
  return arrange(reshape(product, sizes(batch + left + right)), batch + left + right, output);
}

/** Sums over the axes that `order` does not name, and puts the others in its order. */
function arrange(x: Tensor, labels: string, order: string): Tensor {
  const kept = only(labels, (label) => order.includes(label));
  const axes = Array.from(labels).flatMap((label, axis) => (kept.includes(label) ? [] : [axis]));
  const summed = axes.length ? sum(x, axes) : x;
  return transpose(
    summed,
    Array.from(order).map((label) => kept.indexOf(label)),
  );
}

function parse({ equation }: EinsumAttrs) {
  const [inputs, output] = equation.replace(/\s/g, '').split('->') as [string, string];
  return { terms: inputs.split(','), output };
}

const only = (labels: string, test: (label: string) => boolean) => Array.from(labels).filter(test).join('');
