import { broadcastTo, einsum, registerGradient, reshape, type Tensor } from '@tensorflow/tfjs-core';
import { filterLabels, parseEquation, type EinsumAttrs } from '../geometry/einsum-equation.js';

/** Adds the gradient of tf.einsum, which tfjs lacks. */
export const addEinsumGradient = () =>
  registerGradient({
    kernelName: 'Einsum',
    saveAllInputs: true,
    gradFunc: (dy, operands, attrs) =>
      operands.map((_, i) => () => gradient(dy as Tensor, operands, i, attrs as unknown as EinsumAttrs)) as never,
  });

/** Contracts `dy` with the other operand, and broadcasts along the axes that only this operand has. */
function gradient(dy: Tensor, operands: readonly Tensor[], index: number, attrs: EinsumAttrs): Tensor {
  const { terms, output } = parseEquation(attrs);
  const labels = terms[index]!;
  const otherTerms = terms.filter((_, i) => i !== index);
  const shared = filterLabels(labels, (label) => [output, ...otherTerms].some((term) => term.includes(label)));
  const equation = `${[output, ...otherTerms].join(',')}->${shared}`;
  const dx = equation === `${output}->${output}` ? dy : einsum(equation, dy, ...operands.filter((_, i) => i !== index));
  const { shape } = operands[index]!;
  if (shared === labels) return dx;
  const withSummedAxes = shape.map((size, axis) => (shared.includes(labels[axis]!) ? size : 1));
  return broadcastTo(reshape(dx, withSummedAxes), shape);
}
