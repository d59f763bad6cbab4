/** The attributes of tfjs's Einsum kernel. */
export interface EinsumAttrs {
  readonly equation: string;
}

/** Splits an equation such as `ij,jk->ik` into the axis labels of each operand and those of the output. */
export function parseEquation({ equation }: EinsumAttrs): { terms: string[]; output: string } {
  const [inputs, output] = equation.replace(/\s/g, '').split('->') as [string, string];
  return { terms: inputs.split(','), output };
}

/** The labels that pass a test, in their order. */
export const filterLabels = (labels: string, test: (label: string) => boolean): string =>
  Array.from(labels).filter(test).join('');
