import {
  add,
  engine,
  matMul,
  reshape,
  sum,
  transpose,
  _FusedMatMul,
  type Tensor,
  type Tensor2D,
} from '@tensorflow/tfjs-core';
import { defineOp } from '../define-op.js';
import { packedLayout } from '../frozen.js';
import { isLinearMap, type LinearMap } from '../params.js';

/** A matrix `[out, in]`, as a tensor or as a linear map. */
export type Matrix = Tensor | LinearMap;

/**
 * `x · weightᵀ + bias`, as torch.nn.functional.linear.
 * @param x `[..., in]`
 * @param weight `[out, in]`
 * @param bias `[out]`
 * @returns `[..., out]`
 * @throws if x does not match the weight
 */
export function linear(x: Tensor, weight: Matrix, bias?: Tensor): Tensor {
  const [outputs, inputs] = weight.shape as [number, number];
  if (x.shape.at(-1) !== inputs)
    throw new Error(
      `linear: x got shape [${x.shape}], expected [..., ${inputs}] for a weight of shape [${weight.shape}].`,
    );
  const rows = reshape(x, [-1, inputs]); // [N, in]
  const y = isLinearMap(weight)
    ? plusBias(weight.apply(rows), bias)
    : linearOp({ x: rows, weight, ...(bias && { bias }) }, {});
  return reshape(y, [...x.shape.slice(0, -1), outputs]);
}

const plusBias = (y: Tensor, bias?: Tensor) => (bias ? add(y, bias) : y);

const linearOp = defineOp<object>({
  name: 'Linear',
  forward: ({ x, weight, bias }) => matMulBias(x!, packedLayout(weight!, '[in, out]', transpose), bias),
  inputsToSave: ['x', 'weight'],
  gradient: (dy, [x, weight]) => ({
    x: () => matMul(dy as Tensor2D, weight as Tensor2D), // [N, in]
    weight: () => weightGradient(dy as Tensor2D, x as Tensor2D),
    bias: () => sum(dy, 0),
  }),
});

/** `dyᵀ · x`. Transposes the narrower factor: transposes are slow, and a LoRA matrix has one very narrow side. */
function weightGradient(dy: Tensor2D, x: Tensor2D): Tensor2D {
  return dy.shape[1] <= x.shape[1] ? matMul(transpose(dy), x) : transpose(matMul(transpose(x), dy)); // [out, in]
}

/** `a · b + bias`, fused into one kernel. */
function matMulBias(a: Tensor, b: Tensor, bias?: Tensor): Tensor {
  if (!bias) return matMul(a as Tensor2D, b as Tensor2D);
  const attrs = { transposeA: false, transposeB: false, activation: 'linear' };
  const [m, n] = [a.shape[0]!, b.shape[1]!];
  const inputs = { a: reshape(a, [1, ...a.shape]), b: reshape(b, [1, ...b.shape]), bias };
  return reshape(engine().runKernel(_FusedMatMul, inputs as never, attrs as never) as Tensor, [m, n]);
}
