import { betaChecks, betaDefaults, type BetaConfig } from './betas.js';
import { predictionTypes, type PredictionType } from './prediction.js';
import type { FieldChecks } from './scheduler-config.js';
import type { Step } from './scheduler.js';

/** The options of schedulers of distilled models, under diffusers' names in `scheduler_config.json`. */
export type DistillationConfig = BetaConfig & {
  /** The number of steps that the model was distilled with: a chain takes its timesteps from theirs. */
  original_inference_steps: number;
  prediction_type: PredictionType;
  clip_sample: boolean;
  steps_offset: number;
  rescale_betas_zero_snr: boolean;
};

export const distillationDefaults: DistillationConfig = {
  ...betaDefaults,
  beta_start: 0.00085,
  beta_end: 0.012,
  beta_schedule: 'scaled_linear',
  original_inference_steps: 50,
  prediction_type: 'epsilon',
  clip_sample: false,
  steps_offset: 0,
  rescale_betas_zero_snr: false,
};

export const distillationChecks = {
  ...betaChecks,
  prediction_type: predictionTypes,
} as const satisfies FieldChecks<DistillationConfig>;

/**
 * Returns the steps of a chain whose timesteps are among those that a consistency model was distilled at.
 * @param strength takes them from the last share of those timesteps
 * @throws if the count is not an integer from 1 to `original_inference_steps`, or to the share of it
 */
export function distilledTimesteps(
  owner: string,
  config: DistillationConfig,
  count: number,
  strength = 1,
): readonly Step[] {
  const { num_train_timesteps: total, original_inference_steps: distilled } = config;
  const original = Math.trunc(distilled * strength);
  const largest = Math.min(original, total);
  if (!Number.isInteger(count) || count < 1 || count > largest) {
    const share = strength === 1 ? '' : ` · strength ${strength}`;
    throw new Error(
      `${owner}: numInferenceSteps got ${count}, ` +
        `expected an integer from 1 to original_inference_steps${share} = ${largest}.`,
    );
  }
  const stride = Math.floor(total / distilled);
  const timesteps = Array.from(
    { length: count },
    (_, i) => (original - Math.floor(i * (original / count))) * stride - 1,
  );
  return timesteps.map((t, index) => ({ index, t, prev: timesteps[index + 1] ?? -1 }));
}
