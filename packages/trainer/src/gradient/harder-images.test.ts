import {
  add,
  clipByValue,
  div,
  mul,
  norm,
  stack,
  sub,
  tensor4d,
  tidy,
  unstack,
  zeros,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { disposeTensors, random, useBackend } from '@alignprop/autograd-ext';
import { expectNoLeaks } from '@alignprop/autograd-ext/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { expectClose } from '../../../../fixtures/index.js';
import { adaptedPipeline, newInputs, reward, sampling } from '../estimators/__fixtures__/nested-graph.js';
import { chainOf } from '../estimators/__fixtures__/chains.js';
import { full } from '../estimators/draft.js';
import { drawPlan } from '../estimators/plans.js';
import { AlignPropGradient } from './alignprop-gradient.js';
import { harderImages } from './harder-images.js';

beforeAll(() => useBackend('wasm'));

describe('harderImages', () => {
  it('moves each image by the radius along its gradient, within [0, 1]', () =>
    expectNoLeaks(() => {
      const images = tensor4d([0.5, 0.5, 0.5, 0.9, 0.5, 0.5], [2, 1, 1, 3]);
      const gradients = tensor4d([3e-20, 4e-20, 0, 100, 0, 0], [2, 1, 1, 3]);
      const harder = harderImages(images, gradients, 0.2);
      const expected = [0.62, 0.66, 0.5, 1, 0.5, 0.5];
      [...harder.dataSync()].forEach((value, i) => expect(value).toBeCloseTo(expected[i]!, 5));
      return [images, gradients, harder];
    }));

  it('leaves images without a gradient where they are', () => {
    const images = tensor4d([0.2, 0.5, 0.7], [1, 1, 1, 3]);
    expect([...harderImages(images, zeros([1, 1, 1, 3]), 1).dataSync()]).toEqual([...images.dataSync()]);
  });
});

it('is where reward_perturbation takes the gradient of the reward', async () => {
  const pipeline = await adaptedPipeline();
  const plan = drawPlan(full(), chainOf(sampling.numInferenceSteps), random(1));
  const gradientsAt = async (rewardPerturbation: number) =>
    new AlignPropGradient(pipeline, reward, { ...sampling, rewardPerturbation }).compute(
      await newInputs(pipeline, plan),
    );
  const [plain, moved] = [await gradientsAt(0), await gradientsAt(2)];
  expect([...moved.rewards.dataSync()]).toEqual([...plain.rewards.dataSync()]);
  // The loss is the mean over two images of 20 · mean((x - 0.3)²), whose gradient at y is 20 / size · (y - 0.3).
  const expected = tidy(() => {
    const away = sub(plain.images, 0.3) as Tensor4D;
    const directions = stack(unstack(away).map((one) => div(one, norm(one))));
    const harder = clipByValue(add(plain.images, mul(directions, 2)), 0, 1);
    return mul(sub(harder, 0.3), (2 * 20) / plain.images.size);
  });
  expectClose(moved.imageGradients, expected, 1e-5, 'image gradients');
  expect(() => expectClose(moved.imageGradients, plain.imageGradients, 1e-2)).toThrow();
  const path = Object.keys(plain.params)[0]!;
  expect(() => expectClose(moved.params[path]!, plain.params[path]!, 1e-3)).toThrow();
  disposeTensors([plain, moved, expected]);
});
