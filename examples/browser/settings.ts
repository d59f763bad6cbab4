import type { AlignPropConfigInput } from '@alignprop/trainer';

/** The settings of a run that the page asks for. */
export interface Settings {
  /** Optimizer steps. */
  readonly steps: number;
  readonly learningRate: number;
  /** Steps of each picture, from noise to the end. */
  readonly denoisingSteps: number;
  /** Pictures that each optimizer step is computed from. */
  readonly batch: number;
}

/** The settings that the page begins with; few-step models have denoising steps of their own. */
export const defaultSettings: Settings = { steps: 20, learningRate: 1.3e-3, denoisingSteps: 10, batch: 2 };

/** The seed of the pictures that compare before and after: picture i has the noise of `pictureSeed + i`. */
export const pictureSeed = 7;

/** The configuration of a run, with the last two denoising steps attached. */
export function trainingConfig(
  { steps, learningRate, denoisingSteps, batch }: Settings,
  { isFewStep }: { readonly isFewStep: boolean },
): AlignPropConfigInput {
  return {
    seed: 1,
    num_epochs: steps,
    train_batch_size: batch,
    train_learning_rate: learningRate,
    sample_num_steps: denoisingSteps,
    truncated_backprop_rand: false,
    truncated_backprop_timestep: Math.max(0, denoisingSteps - 2),
    ...(!isFewStep && { sample_guidance_scale: 4, sample_eta: 0 }), // few-step models have their own
  };
}
