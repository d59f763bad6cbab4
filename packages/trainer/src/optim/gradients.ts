import { add, addN, clone, dispose, sqrt, square, sum, tidy, type Scalar, type Tensor } from '@tensorflow/tfjs-core';

/** Gradients by parameter path; each has the shape of its parameter. */
export type Gradients = Readonly<Record<string, Tensor>>;

/**
 * Adds gradients by path (gradient accumulation) and frees both operands. A path that only one operand has keeps its
 * value.
 */
export function accumulate(total: Gradients, gradients: Gradients): Gradients {
  const paths = [...new Set([...Object.keys(total), ...Object.keys(gradients)])];
  const added = paths.map((path) => {
    const [a, b] = [total[path], gradients[path]];
    return [path, a && b ? add(a, b) : clone((a ?? b)!)] as const;
  });
  dispose([total, gradients]);
  return Object.fromEntries(added);
}

/** The L2 norm of all gradients together, a scalar. */
export const globalNorm = (gradients: Gradients): Scalar =>
  tidy(() => sqrt(addN(Object.values(gradients).map((gradient) => sum(square(gradient)))))) as Scalar;
