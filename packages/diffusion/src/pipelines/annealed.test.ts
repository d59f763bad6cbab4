import { tensor1d, mul, type Tensor } from '@tensorflow/tfjs-core';
import { TfjsEngine, mapTensors, useBackend, type Compiled, type Params } from '@alignprop/autograd-ext';
import { expectNoLeaks } from '@alignprop/autograd-ext/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { fixturePath } from '../../../../fixtures/index.js';
import { annealedPrediction } from './annealed.js';
import { StableDiffusionPipeline } from './stable-diffusion.js';

beforeAll(() => useBackend('wasm'));

describe('annealedPrediction', () => {
  it('goes from one prediction to the other, and runs one alone at the ends', () =>
    expectNoLeaks(async () => {
      const calls: string[] = [];
      const predicts =
        (name: string): Compiled =>
        async (params) => (calls.push(name), [mul(params as Tensor, 1)]);
      const [tuned, base] = [tensor1d([10]), tensor1d([2])];
      const predict = annealedPrediction(
        predicts('tuned'),
        predicts('base'),
        { from: base, share: (progress) => progress ** 2 },
        3,
      );
      const seen: number[] = [];
      for (let i = 0; i < 3; i++) {
        const [value] = await predict(tuned);
        seen.push(value!.dataSync()[0]!);
        value!.dispose();
      }
      expect(seen).toEqual([2, 0.75 * 2 + 0.25 * 10, 10]);
      expect(calls).toEqual(['base', 'base', 'tuned', 'tuned']);
      await expect(
        annealedPrediction(predicts(''), predicts(''), { from: base, share: () => NaN }, 2)(tuned),
      ).rejects.toThrow('share got NaN at call 1 of 2');
      return [tuned, base];
    }));
});

describe('generate with annealed', () => {
  it('draws what the weights it begins with draw where the share is 0, and its own where it is 1', async () => {
    const pipeline = await StableDiffusionPipeline.fromPretrained(fixturePath('sd15-tiny/model'), {
      engine: new TfjsEngine(),
    });
    const other = mapTensors(pipeline.unet.params, (path, leaf) =>
      path === 'conv_out.bias' ? tensor1d(new Float32Array(4).fill(0.5)) : leaf,
    ) as Params;
    const quick = { numInferenceSteps: 3, seed: 7, height: 16, width: 16 };
    const draw = async (from: StableDiffusionPipeline, share?: (progress: number) => number, weights = other) => {
      const { images, latents } = await from.generate('a cat', {
        ...quick,
        ...(share && { annealed: { from: weights, share } }),
      });
      images.dispose();
      return [...latents.dataSync()];
    };
    const [own, others] = [await draw(pipeline), await draw(pipeline.with({ unet: pipeline.unet.withParams(other) }))];
    expect(own).not.toEqual(others);
    expect(await draw(pipeline, () => 1)).toEqual(own);
    expect(await draw(pipeline, () => 0)).toEqual(others);
    const between = await draw(pipeline, (progress) => progress);
    expect(between).not.toEqual(own);
    expect(between).not.toEqual(others);
    (await draw(pipeline, () => 0.5, pipeline.unet.params)).forEach((value, i) =>
      expect(value).toBeCloseTo(own[i]!, 4),
    );
    pipeline.dispose();
  });
});
