import type { Tensor1D, Tensor4D } from '@tensorflow/tfjs-core';
import type { Tracker } from './tracker.js';

/**
 * Logs images with the caption `prompt | reward`, as TRL's example hook does. The trainers call it where no
 * `imageSamplesHook` is given.
 */
export async function logSamples(
  { images, prompts, rewards }: { images: Tensor4D; prompts: readonly string[]; rewards: Tensor1D },
  globalStep: number,
  tracker: Tracker,
): Promise<void> {
  const values = await rewards.data();
  await tracker.logImages?.(
    images,
    prompts.map((prompt, i) => `${prompt} | ${values[i]!.toFixed(2)}`),
    globalStep,
  );
}
