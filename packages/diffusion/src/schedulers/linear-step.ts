import type { Tensor4D } from '@tensorflow/tfjs-core';
import { combine, type Term } from './combination.js';
import { mix, type Bound, type Mixture } from './prediction.js';
import type { StepCoefficients, StepOutput } from './scheduler.js';

/** A one-step rule: it predicts x_0 and adds it, the sample, the model's output and noise. */
export interface LinearRule {
  /** The predicted x_0, which a bound may clip. */
  readonly original: Mixture;
  /** The weights of the sample after the step. */
  readonly next: StepCoefficients & { readonly original: number };
}

/** The tensors of one step. */
interface StepInputs {
  readonly modelOutput: Tensor4D;
  readonly sample: Tensor4D;
  readonly noise?: Tensor4D;
}

/** Returns a step of a one-step rule as a linear map of the sample, the model's output and noise. */
export const linearCoefficients = ({ original, next }: LinearRule): StepCoefficients => ({
  sample: next.original * original.sample + next.sample,
  modelOutput: next.original * original.modelOutput + next.modelOutput,
  noise: next.noise,
});

/** Takes a step of a one-step rule. */
export function linearStep(
  { original, next }: LinearRule,
  { modelOutput, sample, noise }: StepInputs,
  bound: Bound | undefined,
): StepOutput {
  const unbounded = mix(original, sample, modelOutput);
  const predOriginalSample = bound ? bound.apply(unbounded) : unbounded;
  const terms: Term[] = [
    [next.original, predOriginalSample],
    [next.sample, sample],
    [next.modelOutput, modelOutput],
  ];
  if (noise) terms.push([next.noise, noise]);
  return { prevSample: combine(terms), predOriginalSample };
}
