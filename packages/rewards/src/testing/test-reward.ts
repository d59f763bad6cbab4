import { vjp } from '@alignprop/autograd-ext';
import { checkGradient, expectNoLeaks, type CheckGradientOptions } from '@alignprop/autograd-ext/testing';
import { concat, randomUniform, type Tensor4D } from '@tensorflow/tfjs-core';
import type { RewardFunction } from '../reward.js';

export interface TestRewardOptions extends CheckGradientOptions {
  /** Height and width of the images. */
  readonly size?: readonly [number, number];
}

/**
 * What every reward promises, to be called in its test: one finite number an image, the same whatever else is in the
 * batch; a gradient that equals central differences; no tensor left behind.
 * @throws at the first promise that is broken
 */
export async function testReward(reward: RewardFunction, { size = [16, 16], ...options }: TestRewardOptions = {}): Promise<void> {
  const prompts = ['a crab', 'a fox', 'a moon'];
  const [first, second, third] = [0, 1, 2].map((i) => randomUniform([1, ...size, 3], 0.1, 0.9, 'float32', i + 1) as Tensor4D);
  const score = (images: Tensor4D, of: readonly string[] = prompts) => reward(images, of, of.map(() => ({})));
  const together = score(concat([first!, second!, third!]) as Tensor4D);
  check(together.shape.length === 1 && together.shape[0] === 3, `scores got shape [${together.shape}], expected [3] for 3 images`);
  const alone = [first, second, third].map((image, i) => score(image!, [prompts[i]!]).dataSync()[0]!);
  check(alone.every(Number.isFinite), `scores got ${alone.join(', ')}, expected finite numbers`);
  together.dataSync().forEach((value, i) => {
    const isSame = Math.abs(value - alone[i]!) <= 1e-5 * Math.max(1, Math.abs(alone[i]!));
    check(isSame, `image ${i} got ${value} in a batch, expected ${alone[i]} as alone`);
  });
  checkGradient((images) => score(images as Tensor4D), [concat([first!, third!])], options);
  await expectNoLeaks(() => score(second!, ['a fox']));
  await expectNoLeaks(() => {
    const { value, inputs } = vjp((_, images) => score(images as Tensor4D), {}, [second!]);
    return [value, ...inputs];
  });
}

function check(holds: boolean, message: string): void {
  if (!holds) throw new Error(`testReward: ${message}.`);
}
