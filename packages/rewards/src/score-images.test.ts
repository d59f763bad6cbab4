import { TfjsEngine, useBackend } from '@alignprop/autograd-ext';
import { expectNoLeaks } from '@alignprop/autograd-ext/testing';
import {
  add,
  dispose,
  fill,
  log,
  mean,
  mul,
  scalar,
  tensor1d,
  tensor3d,
  tensor4d,
  zeros,
  type Tensor,
  type Tensor1D,
  type Tensor3D,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { testBackends } from '../../../fixtures/engines.js';
import { scaled } from './combinators/scaled.js';
import { weightedSum } from './combinators/weighted-sum.js';
import { jpegCompressibility } from './jpeg/jpeg-kilobytes.js';
import { defineReward, loadReward, type RewardFunction } from './reward.js';
import { scoreImages, type Pixels } from './score-images.js';

const brightness: RewardFunction = (images) => mean(images, [1, 2, 3]);
/** Bytes that differ from pixel to pixel. */
const bytes = (height: number, width: number): Uint8Array =>
  Uint8Array.from({ length: height * width * 3 }, (_, i) => (i * 7) % 256);
const floats = (data: Uint8Array): Float32Array => Float32Array.from(data, (byte) => byte / 255);

describe.each(testBackends)('scoreImages on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it.each([
    [16, 16],
    [15, 17],
    [9, 30],
    [1, 1],
    [1, 40],
    [33, 2],
  ])('gives bytes, floats, tensors and batches of %i×%i the same score', (height, width) =>
    expectNoLeaks(async () => {
      const data = bytes(height, width);
      const batch = tensor4d(floats(data), [1, height, width, 3]);
      const image = tensor3d(floats(data), [height, width, 3]);
      const reward = jpegCompressibility();
      const expected = reward(batch, [''], [{}]);
      const { scores } = await scoreImages(reward, [
        { data, height, width },
        { data: floats(data), height, width },
        { data: new Uint8ClampedArray(data), height, width },
        image,
      ]);
      expect([...scores]).toEqual(Array(4).fill(expected.dataSync()[0]));
      expect((await scoreImages(reward, batch)).scores).toEqual(expected.dataSync());
      dispose([batch, image, expected]);
    }),
  );

  it('scores images of several sizes, each with its prompt and metadata, and reports terms', () =>
    expectNoLeaks(async () => {
      const seen: unknown[] = [];
      const spy: RewardFunction<number> = (images, prompts, metadata) => (
        seen.push([images.shape, prompts, metadata]),
        mean(images, [1, 2, 3])
      );
      const images: Pixels[] = [
        [2, 3],
        [4, 1],
      ].map(([height, width]) => ({ data: bytes(height!, width!), height: height!, width: width! }));
      const { scores, terms } = await scoreImages(weightedSum({ a: [spy, 2], b: [brightness, 1] }), images, {
        prompts: ['crab', 'fox'],
        metadata: [7, 8],
      });
      expect(seen).toEqual([
        [[1, 2, 3, 3], ['crab'], [7]],
        [[1, 4, 1, 3], ['fox'], [8]],
      ]);
      expect(Object.keys(terms)).toEqual(['a', 'b']);
      scores.forEach((score, i) => expect(score).toBeCloseTo(terms.a![i]! + terms.b![i]!, 6));
      await scoreImages(spy, images, { prompts: 'both' });
      expect(seen.slice(2)).toEqual([
        [[1, 2, 3, 3], ['both'], [undefined]],
        [[1, 4, 1, 3], ['both'], [undefined]],
      ]);
    }));

  it('compiles a model reward once on an engine, which reads the weights', () =>
    expectNoLeaks(async () => {
      const reward = defineReward({
        params: { w: { shape: [], dtype: 'F32', read: async () => Float32Array.of(3) } },
        inputs: (prompts) => [tensor1d(prompts.map(({ length }) => length))],
        score: (params, images, lengths) =>
          add(mul(brightness(images as Tensor4D, [], []), (params as { w: Tensor }).w), lengths!),
      });
      const images = [{ data: bytes(2, 2), height: 2, width: 2 }];
      await expect(scoreImages(reward, images)).rejects.toThrow("reward: the weight 'w' is still in its file");
      const engine = new TfjsEngine();
      const { scores } = await scoreImages(scaled(reward, 2), images, { prompts: 'crab', engine });
      const compile = vi.spyOn(engine, 'compile');
      await scoreImages(reward, images, { engine });
      await scoreImages(reward, images, { engine });
      expect(compile).toHaveBeenCalledTimes(1);
      engine.dispose();
      const loaded = await loadReward(reward);
      const { scores: direct } = await scoreImages(loaded, images, { prompts: 'crab' });
      loaded.dispose();
      expect(scores[0]).toBeCloseTo(2 * direct[0]!, 5);
    }));

  it('names the pixel that is not finite', async () => {
    const data = floats(bytes(5, 4));
    data[(3 * 4 + 2) * 3 + 1] = NaN;
    const image = { data: floats(bytes(5, 4)), height: 5, width: 4 };
    await expect(scoreImages(brightness, [image, { ...image, data }])).rejects.toThrow(
      'scoreImages: image 1, row 3, column 2, green, got NaN, expected a number from 0 to 1.',
    );
    const batch = tensor4d([...image.data, ...data], [2, 5, 4, 3]);
    await expect(scoreImages(brightness, batch)).rejects.toThrow(
      'scoreImages: image 1, row 3, column 2, green, got NaN',
    );
    data[2] = Infinity;
    await expect(scoreImages(brightness, [tensor3d(data, [5, 4, 3])])).rejects.toThrow(
      'image 0, row 0, column 0, blue, got Infinity',
    );
  });

  it.each([
    ['no images', () => [], 'images got none'],
    [
      'a tensor of bytes',
      () => [fill([2, 2, 3], 200, 'int32')],
      "image 0 got int32 values, expected float32 from 0 to 1. For bytes: div(cast(image, 'float32'), 255).",
    ],
    ['bytes as floats', () => [fill([2, 2, 3], 200)], 'got 200, expected a number from 0 to 1. Divide bytes by 255'],
    [
      'images in [-1, 1]',
      () => [fill([2, 2, 3], -0.5)],
      'got -0.5, expected a number from 0 to 1. Images in [-1, 1] are x · 0.5 + 0.5',
    ],
    ['channels first', () => [zeros([3, 8, 8])], 'image 0 got shape [3,8,8], expected [H, W, 3]'],
    [
      'an alpha channel',
      () => [{ data: new Uint8Array(16), height: 2, width: 2 }],
      'got 16 values for 2×2 pixels, expected three a pixel. Leave the alpha channel out.',
    ],
    [
      'too few values',
      () => [{ data: new Uint8Array(10), height: 2, width: 2 }],
      'got 10 values for 2×2 pixels, expected three a pixel. Give RGB',
    ],
    ['an empty image', () => [{ data: new Uint8Array(0), height: 0, width: 2 }], 'got 0 values for 0×2 pixels'],
    ['a single image as a batch', () => zeros([2, 2, 3]), 'images got shape [2,2,3], expected [B, H, W, 3]'],
  ])('rejects %s', async (_, images, message) => {
    await expect(scoreImages(brightness, images() as Tensor3D[])).rejects.toThrow(message);
  });

  it('rejects a wrong number of prompts or metadata, and scores that are not finite', async () => {
    const images = zeros([2, 2, 2, 3]) as Tensor4D;
    await expect(scoreImages(brightness, images, { prompts: ['one'] })).rejects.toThrow(
      'scoreImages: prompts got 1, expected 2, one an image.',
    );
    await expect(scoreImages(brightness, images, { metadata: [] })).rejects.toThrow(
      'scoreImages: metadata got 0, expected 2',
    );
    await expect(
      scoreImages((x) => log(mul(add(brightness(x, [], []), 1), scalar(-1))) as Tensor1D, images),
    ).rejects.toThrow('the score of image 0 got NaN, expected a finite number.');
  });
});
