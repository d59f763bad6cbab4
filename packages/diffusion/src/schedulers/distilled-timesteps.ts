import type { Step } from './scheduler.js';

/** The options that choose the timesteps of a distilled model. */
export type DistillationConfig = {
  num_train_timesteps: number;
  /** The number of steps that the model was distilled with: a chain takes its timesteps from theirs. */
  original_inference_steps: number;
};

/**
 * Returns the steps of a chain whose timesteps are among those that a consistency model was distilled at.
 * @throws if the count is not an integer from 1 to `original_inference_steps`
 */
export function distilledTimesteps(owner: string, config: DistillationConfig, count: number): readonly Step[] {
  const { num_train_timesteps: total, original_inference_steps: original } = config;
  const largest = Math.min(original, total);
  if (!Number.isInteger(count) || count < 1 || count > largest) {
    throw new Error(
      `${owner}: numInferenceSteps got ${count}, expected an integer from 1 to original_inference_steps = ${largest}.`,
    );
  }
  const stride = Math.floor(total / original);
  const timesteps = Array.from(
    { length: count },
    (_, i) => (original - Math.floor(i * (original / count))) * stride - 1,
  );
  return timesteps.map((t, index) => ({ index, t, prev: timesteps[index + 1] ?? -1 }));
}
