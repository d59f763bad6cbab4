import type { Tensor1D, Tensor4D } from '@tensorflow/tfjs-core';
import type { SampleDetails, Tracker } from './tracker.js';

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
  await tracker.logImages?.(samples.images, ...(await labelsOf(samples, globalStep)));
}

/** The same for images of an evaluation, where no `evaluationSamplesHook` is given. */
export async function logEvaluationSamples(samples: Samples, globalStep: number, tracker: Tracker): Promise<void> {
  await tracker.logEvaluationImages?.(samples.images, ...(await labelsOf(samples, globalStep)));
}

/** The arguments of `logImages` after the images. */
async function labelsOf(
  { prompts, rewards }: Samples,
  globalStep: number,
): Promise<[readonly string[], number, SampleDetails]> {
  const values = [...(await rewards.data<'float32'>())];
  const captions = prompts.map((prompt, i) => `${prompt} | ${values[i]!.toFixed(2)}`);
  return [captions, globalStep, { prompts, rewards: values }];
}
