import { defineOp } from '@alignprop/autograd-ext';
import {
  add,
  div,
  matMul,
  mul,
  reshape,
  sqrt,
  square,
  sum,
  zerosLike,
  type Tensor,
  type Tensor2D,
} from '@tensorflow/tfjs-core';

/**
 * The axis along which DoRA keeps lengths: of V's rows, one for each output (peft, kohya), or of its columns, one for
 * each input (LyCORIS with `wd_on_out` false).
 */
export type DoraAxis = 'output' | 'input';

/** The matrices of V = W + scale·B·A. */
interface Factors {
  readonly weight: Tensor; // [out, in] or [out, in, kh, kw]
  readonly loraA: Tensor; // [r, in] or [r, in, kh, kw]
  readonly loraB: Tensor; // [out, r] or [out, r, 1, 1]
  readonly scale: number;
}

/**
 * Returns m/|V|, `[out]` or `[in]`, the factors by which DoRA multiplies V (Liu et al. 2024, "DoRA", equation 5).
 * @param options.exactGradient whether gradients go through |V|; if not, |V| counts as a constant (section 4.3)
 */
export function doraFactors(
  { weight, loraA, loraB, scale }: Factors,
  { magnitude, axis, exactGradient }: { magnitude: Tensor; axis: DoraAxis; exactGradient: boolean },
): Tensor {
  const inputs = { weight, loraA, loraB };
  const lengths = exactGradient ? adaptedLengths(inputs, { scale, axis }) : constantLengths(inputs, { scale, axis });
  return div(magnitude, lengths);
}

/** Returns |V|: the lengths of its rows `[out]` or columns `[in]`. */
function adaptedLengths(
  { weight, loraA, loraB }: Readonly<Record<string, Tensor>>,
  { scale, axis }: { scale: number; axis: DoraAxis },
): Tensor {
  const [out, inputs] = weight!.shape as [number, number];
  const a = reshape(loraA!, [loraA!.shape[0]!, -1]) as Tensor2D; // [r, in·kh·kw]
  const b = reshape(loraB!, [out, -1]) as Tensor2D; // [out, r]
  const adapted = add(reshape(weight!, [out, -1]), mul(matMul(b, a), scale)); // [out, in·kh·kw]
  const squares = square(adapted);
  return sqrt(axis === 'output' ? sum(squares, 1) : sum(reshape(squares, [out, inputs, -1]), [0, 2]));
}

const constantLengths = defineOp<{ readonly scale: number; readonly axis: DoraAxis }>({
  name: 'DoraLengths',
  forward: adaptedLengths,
  inputsToSave: ['loraA', 'loraB'],
  gradient: (_, [loraA, loraB]) => ({ loraA: () => zerosLike(loraA!), loraB: () => zerosLike(loraB!) }),
});
