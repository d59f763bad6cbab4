import type { Tensor4D } from '@tensorflow/tfjs-core';
import type { Step } from '@alignprop/diffusion';
import { globalNorm } from '../optim/gradients.js';
import { firstNonFinite, NonFiniteError } from '../optim/non-finite.js';
import type { ChainGradients, Trajectory } from './walk-up.js';

/**
 * Checks the end of a walk down. The images cannot tell: decoding clips, and some backends clip NaN to a number.
 * @throws NonFiniteError that names the first tensor of the chain that is not finite
 */
export async function checkLatents({ steps, latents }: Trajectory, prompts: readonly string[]): Promise<void> {
  if (!(await firstNonFinite([['x_0', latents.at(-1)]]))) return;
  const source = await firstNonFinite(
    latents.map((x, i) => [
      i === 0 ? 'the starting latents' : `the latents after denoising step ${i - 1} (t = ${steps[i - 1]!.t})`,
      x,
    ]),
  );
  throw new NonFiniteError(
    `the denoising chain of the prompts ${quoted(prompts)} is not finite. The first such tensor is ${source}.`,
  );
}

/**
 * Checks the rewards of images.
 * @throws NonFiniteError that names the image, its prompt, and whether the image or the reward function is to blame
 */
export async function checkRewards(
  values: ArrayLike<number>,
  prompts: readonly string[],
  images: Tensor4D,
  rewardName: string,
): Promise<void> {
  const index = Array.from(values).findIndex((value) => !Number.isFinite(value));
  if (index < 0) return;
  const blame = (await firstNonFinite([['images', images]]))
    ? 'The first tensor that is not finite is the decoded images.'
    : `The images are finite, so ${rewardName} computed it.`;
  throw new NonFiniteError(`the reward of image ${index} ('${prompts[index]}') is ${values[index]}. ${blame}`);
}

/**
 * Checks the gradients of a walk up.
 * @throws NonFiniteError that names the first gradient that is not finite, in the order in which they are computed
 */
export async function checkGradients(
  { params, latents }: ChainGradients,
  imageGradients: Tensor4D,
  steps: readonly Step[],
  prompts: readonly string[],
): Promise<void> {
  const norm = globalNorm(params);
  const isFinite = Number.isFinite((await norm.data())[0]);
  norm.dispose();
  if (isFinite) return;
  const chain = latents.map((x, i) => {
    const place = steps[i] ? `the latents before denoising step ${i} (t = ${steps[i].t})` : 'x_0';
    return [`the gradient of ${place}`, x] as const;
  });
  const weights = Object.entries(params).map(([path, x]) => [`the gradient of ${path}`, x] as const);
  const source = await firstNonFinite([
    ["the reward's gradient of the images", imageGradients],
    ...chain.reverse(),
    ...weights,
  ]);
  throw new NonFiniteError(
    `a gradient is not finite for the prompts ${quoted(prompts)}. The first such tensor is ${source ?? 'their norm'}.`,
  );
}

const quoted = (prompts: readonly string[]) => prompts.map((prompt) => `'${prompt}'`).join(', ');
