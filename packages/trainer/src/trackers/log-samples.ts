import type { Tensor1D, Tensor4D } from '@tensorflow/tfjs-core';
import type { Tracker } from './tracker.js';

/** Images with their prompts and rewards. */
interface Samples {
  readonly images: Tensor4D;
  readonly prompts: readonly string[];
  readonly rewards: Tensor1D;
}

/**
 * Logs images with the caption `prompt | reward`, as TRL's example hook does. The trainers call it where no
 * `imageSamplesHook` is given.
 */
export async function logSamples(samples: Samples, globalStep: number, tracker: Tracker): Promise<void> {
  await tracker.logImages?.(samples.images, await captionsOf(samples), globalStep);
}

/** The same for images of an evaluation, where no `evaluationSamplesHook` is given. */
export async function logEvaluationSamples(samples: Samples, globalStep: number, tracker: Tracker): Promise<void> {
  await tracker.logEvaluationImages?.(samples.images, await captionsOf(samples), globalStep);
}

async function captionsOf({ prompts, rewards }: Samples): Promise<readonly string[]> {
  const values = await rewards.data();
  return prompts.map((prompt, i) => `${prompt} | ${values[i]!.toFixed(2)}`);
}
