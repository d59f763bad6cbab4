import {
  add,
  clipByValue,
  div,
  exp,
  log,
  maximum,
  mean,
  mul,
  neg,
  square,
  sub,
  type Scalar,
  type Tensor,
  type Tensor1D,
  type Tensor4D,
} from '@tensorflow/tfjs-core';

/**
 * A denoising step as a Gaussian, x' ~ N(sample · x + modelOutput · ε, noise²): the `StepCoefficients` of each image,
 * `[B, 1, 1, 1]`, or of all of them, `[]`.
 */
export interface Transition {
  readonly sample: Tensor;
  readonly modelOutput: Tensor;
  readonly noise: Tensor;
}

/**
 * The log-density of denoising steps from `latents` to `nextLatents`, `[B, h, w, C]` both: DDPO's policy (arXiv
 * 2305.13301, §4.1). As in TRL it is the mean over the elements of an image, not their sum.
 * @param prediction ε, `[B, h, w, C]`
 * @returns `[B]`
 */
export function transitionLogProb(
  prediction: Tensor4D,
  latents: Tensor4D,
  nextLatents: Tensor4D,
  { sample, modelOutput, noise }: Transition,
): Tensor1D {
  const expected = add(mul(sample, latents), mul(modelOutput, prediction));
  const squares = div(square(sub(nextLatents, expected)), mul(square(noise), 2));
  return mean(neg(add(add(squares, log(noise)), 0.5 * Math.log(2 * Math.PI))), [1, 2, 3]) as Tensor1D;
}

/**
 * PPO's clipped loss of importance ratios: the mean of max(-A·ratio, -A·clip(ratio, 1 ± clipRange)), where the ratio is
 * exp(logProbs - oldLogProbs). All are `[B]`.
 */
export function clippedLoss(
  logProbs: Tensor1D,
  oldLogProbs: Tensor1D,
  advantages: Tensor1D,
  clipRange: number,
): Scalar {
  const ratio = exp(sub(logProbs, oldLogProbs));
  const losses = [ratio, clipByValue(ratio, 1 - clipRange, 1 + clipRange)].map((bounded) =>
    neg(mul(advantages, bounded)),
  );
  return mean(maximum(losses[0]!, losses[1]!)) as Scalar;
}
