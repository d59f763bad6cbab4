import { elementCount } from '../../../params.js';
import { integers, node, type GraphNode, type Value } from '../graph/graph.js';

/** A power whose operands are repeated beforehand. @returns undefined if the shapes are equal, or one is a number */
export function repeatedPower({ inputs, outputs: [power], attributes }: GraphNode): Value | undefined {
  const { shape, dtype } = power!;
  const repeated = inputs.map((value) =>
    elementCount(value!.shape) === 1 || `${value!.shape}` === `${shape}`
      ? value!
      : node('Expand', [value, integers(shape)], shape),
  );
  return repeated.every((value, i) => value === inputs[i])
    ? undefined
    : node('Pow', repeated, shape, { dtype, attributes });
}
