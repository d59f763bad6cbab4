import { vjp } from '@alignprop/autograd-ext';
import { checkGradient, expectNoLeaks, type CheckGradientOptions } from '@alignprop/autograd-ext/testing';
import { concat, dispose, fill, randomUniform, split, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import { detailed, isModelReward, outsideRun, type RewardFunction } from '../reward.js';

/** Images and tolerances of `testReward`. */
export interface TestRewardOptions extends CheckGradientOptions {
  /** Height and width of the images. */
  readonly size?: readonly [number, number];
  /** Further heights and widths to score. */
  readonly otherSizes?: readonly (readonly [number, number])[];
  /** The bounds of the scores, both included. */
  readonly range?: readonly [min: number, max: number];
  /** The prompts of the three images; 'a crab', 'a fox' and 'a moon' by default. */
  readonly prompts?: readonly [string, string, string];
}

/**
 * Tests the contract of rewards: one finite score an image, within `range`, at every size; the same score alone as in a
 * batch; a gradient that equals central differences, and is finite on black and on white images; terms of the same
 * shape as the scores; no leaked tensors and no disposed inputs.
 * @throws at the first violation
 */
export async function testReward(
  reward: RewardFunction,
  {
    size = [16, 16],
    otherSizes = [
      [15, 17],
      [9, 30],
      [1, 1],
    ],
    range = [-Infinity, Infinity],
    prompts = ['a crab', 'a fox', 'a moon'],
    ...options
  }: TestRewardOptions = {},
): Promise<void> {
  const images = randomUniform([3, ...size, 3], 0.1, 0.9, 'float32', 1) as Tensor4D;
  const batch = await checkBatch(reward, images, prompts, range);
  for (const [i, other] of otherSizes.entries())
    dispose(await checkBatch(reward, randomUniform([3, ...other, 3], 0, 1, 'float32', i + 2), prompts, range));
  for (const level of [0, 1]) checkGradientIsFinite(reward, level, size, prompts[0]);
  const two = concat(batch.slice(0, 2)) as Tensor4D;
  checkGradient((x) => evaluate(reward, x as Tensor4D, prompts.slice(0, 2)), [two], options);
  await checkMemory(reward, two, prompts.slice(0, 2));
  dispose([...batch, two]);
}

const evaluate = (reward: RewardFunction, images: Tensor4D, prompts: readonly string[]) => {
  const metadata = prompts.map(() => ({}));
  const [scores, ...terms] = detailed(reward).outputs(images, prompts, metadata, outsideRun);
  dispose(terms); // no tidy, which would hide leaks
  return scores;
};
const sizeOf = ({ shape }: Tensor) => `${shape[1]}×${shape[2]}`;

/**
 * Scores a batch of three images, and each image alone. Disposes the batch.
 * @returns the images one by one
 */
async function checkBatch(
  reward: RewardFunction,
  images: Tensor4D,
  prompts: readonly string[],
  [min, max]: readonly [number, number],
): Promise<Tensor4D[]> {
  const alone = split(images, prompts.length) as Tensor4D[];
  const { terms, outputs } = detailed(reward);
  const metadata = prompts.map(() => ({}));
  const together = outputs(images, prompts, metadata, outsideRun);
  check(
    together.length === 1 + terms.length,
    `there are ${together.length - 1} outputs after the scores, expected ${terms.length}, one a term`,
  );
  for (const [i, { shape }] of together.entries()) {
    check(
      shape.length === 1 && shape[0] === 3,
      `${i === 0 ? 'scores' : `term '${terms[i - 1]}'`} got shape [${shape}], expected [3] for 3 images`,
    );
  }
  for (const [i, image] of alone.entries()) {
    const scores = evaluate(reward, image, [prompts[i]!]);
    const [one] = await scores.data();
    const inBatch = (await together[0].data())[i]!;
    check(Number.isFinite(one), `the score of a ${sizeOf(image)} image got ${one}, expected a finite number`);
    check(
      one! >= min && one! <= max,
      `the score of a ${sizeOf(image)} image got ${one}, expected it in [${min}, ${max}]`,
    );
    check(
      Math.abs(inBatch - one!) <= 1e-5 * Math.max(1, Math.abs(one!)),
      `image ${i} of ${sizeOf(image)} got ${inBatch} in a batch, expected ${one} as alone`,
    );
    scores.dispose();
  }
  dispose([images, ...together]);
  return alone;
}

/** Checks an image of one value: black and white are where roots and logarithms have infinite slopes. */
function checkGradientIsFinite(
  reward: RewardFunction,
  level: number,
  size: readonly [number, number],
  prompt: string,
): void {
  const image = fill([1, ...size, 3], level);
  const { value, inputs } = vjp((_, images) => evaluate(reward, images as Tensor4D, [prompt]), {}, [image]);
  const bad = inputs[0]!.dataSync().find((slope) => !Number.isFinite(slope));
  check(bad === undefined, `the gradient of an image of ${level}s got ${bad}, expected finite numbers`);
  dispose([image, value, ...inputs]);
}

async function checkMemory(reward: RewardFunction, images: Tensor4D, prompts: readonly string[]): Promise<void> {
  await expectNoLeaks(() => evaluate(reward, images, prompts));
  await expectNoLeaks(() => {
    const { value, inputs } = vjp((_, x) => evaluate(reward, x as Tensor4D, prompts), {}, [images]);
    return [value, ...inputs];
  });
  if (isModelReward(reward))
    await expectNoLeaks(() =>
      reward.model.inputs?.(
        prompts,
        prompts.map(() => ({})),
      ),
    );
  check(!images.isDisposed, "the images were disposed, expected them to stay the caller's");
}

function check(holds: boolean, message: string): asserts holds {
  if (!holds) throw new Error(`testReward: ${message}.`);
}
