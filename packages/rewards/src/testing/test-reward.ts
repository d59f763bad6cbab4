import { vjp } from '@alignprop/autograd-ext';
import { checkGradient, expectNoLeaks, type CheckGradientOptions } from '@alignprop/autograd-ext/testing';
import { concat, dispose, fill, randomUniform, split, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import { detailed, isModelReward, type RewardFunction } from '../reward.js';

export interface TestRewardOptions extends CheckGradientOptions {
  /** Height and width of the images. */
  readonly size?: readonly [number, number];
  /** Further sizes to score, none of which need be kind. */
  readonly otherSizes?: readonly (readonly [number, number])[];
  /** What scores lie within, both ends included. */
  readonly range?: readonly [min: number, max: number];
  /** One for each of three images; the prompts are 'a crab', 'a fox' and 'a moon' if none are given. */
  readonly prompts?: readonly [string, string, string];
}

/**
 * What every reward promises, to be called in its test: one finite number an image, within `range`, at every size; the
 * same whatever else is in the batch; a gradient that equals central differences, and is finite on black and on white;
 * terms of the same shape; no tensor left behind, no input disposed.
 * @throws at the first promise that is broken
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
  const before = randomUniform([3, ...size, 3], 0.1, 0.9, 'float32', 1) as Tensor4D;
  const batch = await checkBatch(reward, before, prompts, range);
  for (const [i, other] of otherSizes.entries())
    dispose(await checkBatch(reward, randomUniform([3, ...other, 3], 0, 1, 'float32', i + 2), prompts, range));
  for (const level of [0, 1]) checkGradientIsFinite(reward, level, size, prompts[0]);
  const two = concat(batch.slice(0, 2)) as Tensor4D;
  checkGradient((images) => judge(reward, images as Tensor4D, prompts.slice(0, 2)), [two], options);
  await checkMemory(reward, two, prompts.slice(0, 2));
  dispose([...batch, two]);
}

const judge = (reward: RewardFunction, images: Tensor4D, prompts: readonly string[]) =>
  reward(
    images,
    prompts,
    prompts.map(() => ({})),
  );
const named = ({ shape }: Tensor) => `${shape[1]}×${shape[2]}`;

/** Scores a batch, and each of its images alone. @returns the images one by one */
async function checkBatch(
  reward: RewardFunction,
  images: Tensor4D,
  prompts: readonly string[],
  [min, max]: readonly [number, number],
): Promise<Tensor4D[]> {
  const alone = split(images, prompts.length) as Tensor4D[];
  const { terms, outputs } = detailed(reward);
  const together = outputs(
    images,
    prompts,
    prompts.map(() => ({})),
  );
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
    const scores = judge(reward, image, [prompts[i]!]);
    const [one] = await scores.data();
    const inBatch = (await together[0].data())[i]!;
    check(Number.isFinite(one), `the score of a ${named(image)} image got ${one}, expected a finite number`);
    check(
      one! >= min && one! <= max,
      `the score of a ${named(image)} image got ${one}, expected it in [${min}, ${max}]`,
    );
    check(
      Math.abs(inBatch - one!) <= 1e-5 * Math.max(1, Math.abs(one!)),
      `image ${i} of ${named(image)} got ${inBatch} in a batch, expected ${one} as alone`,
    );
    scores.dispose();
  }
  dispose([images, ...together]);
  return alone;
}

/** Where a root or a logarithm of nothing gives no number. */
function checkGradientIsFinite(
  reward: RewardFunction,
  level: number,
  size: readonly [number, number],
  prompt: string,
): void {
  const image = fill([1, ...size, 3], level);
  const { value, inputs } = vjp((_, images) => judge(reward, images as Tensor4D, [prompt]), {}, [image]);
  const bad = inputs[0]!.dataSync().find((slope) => !Number.isFinite(slope));
  check(bad === undefined, `the gradient of an image of ${level}s got ${bad}, expected finite numbers`);
  dispose([image, value, ...inputs]);
}

async function checkMemory(reward: RewardFunction, images: Tensor4D, prompts: readonly string[]): Promise<void> {
  await expectNoLeaks(() => judge(reward, images, prompts));
  await expectNoLeaks(() => {
    const { value, inputs } = vjp((_, x) => judge(reward, x as Tensor4D, prompts), {}, [images]);
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
