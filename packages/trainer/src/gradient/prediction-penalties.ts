import { add, div, mean, mul, relu, sign, sqrt, square, stack, sub, tidy, type Tensor4D } from '@tensorflow/tfjs-core';

/** Weights of penalties in the loss, 0 or more. */
export interface PenaltyWeights {
  readonly kl: number;
  readonly norm: number;
}

/** The penalties of predictions, without their weights. */
export interface Penalties {
  /** mean(ε - ε_ref)², over elements (DRaFT+). */
  readonly kl: number;
  /** The mean over images of max(0, ‖ε‖ - ‖ε_ref‖) / √n, n elements an image (NormGuard, arXiv 2606.27771). */
  readonly normExcess: number;
}

/** Smaller than the length of any prediction, so that the derivative of a length exists. */
const tiny = 1e-12;

/**
 * Adds the gradients of the penalties on a prediction to a gradient, `[B, h, w, C]`. The reference is a constant. The
 * tensor belongs to the caller.
 */
export async function penalised(
  dy: Tensor4D,
  prediction: Tensor4D,
  reference: Tensor4D,
  { kl, norm }: PenaltyWeights,
): Promise<{ dy: Tensor4D; penalties: Penalties }> {
  const [total, values] = tidy(() => {
    const difference = sub(prediction, reference);
    const length = lengths(prediction); // [B, 1, 1, 1]
    const excess = relu(sub(length, lengths(reference)));
    const ofKl = mul(difference, (2 * kl) / difference.size);
    const ofNorm = mul(prediction, div(mul(sign(excess), norm / prediction.size), length));
    return [add(add(dy, ofKl), ofNorm) as Tensor4D, stack([mean(square(difference)), mean(excess)])] as const;
  });
  const [klValue, normExcess] = await values.data<'float32'>();
  values.dispose();
  return { dy: total, penalties: { kl: klValue!, normExcess: normExcess! } };
}

/** The root mean square of each image's elements. */
const lengths = (x: Tensor4D) => sqrt(add(mean(square(x), [1, 2, 3], true), tiny));
