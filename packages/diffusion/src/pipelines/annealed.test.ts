import { mul, tensor1d, type Tensor } from '@tensorflow/tfjs-core';
import { mapTensors, TfjsEngine, useBackend, type Compiled, type Params } from '@alignprop/autograd-ext';
import { expectNoLeaks } from '@alignprop/autograd-ext/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { fixturePath } from '../../../../fixtures/index.js';
import { annealedPrediction } from './annealed.js';
import { StableDiffusionPipeline } from './stable-diffusion.js';

beforeAll(() => useBackend('wasm'));

describe('annealedPrediction', () => {
  it('interpolates between the two predictions and runs one UNet where the other has no weight', () =>
    expectNoLeaks(async () => {
      const calls: string[] = [];
      const predicts =
        (name: string): Compiled =>
        async (params) => (calls.push(name), [mul(params as Tensor, 1)]);
      const [tuned, base] = [tensor1d([10]), tensor1d([2])];
      const annealing = { from: base, share: (progress: number) => progress ** 2 };
      const predict = annealedPrediction(predicts('tuned'), predicts('base'), annealing, 3);
      const predictions: number[] = [];
      for (let i = 0; i < 3; i++) {
        const [value] = await predict(tuned);
        predictions.push(value!.dataSync()[0]!);
        value!.dispose();
      }
      expect(predictions).toEqual([2, 0.75 * 2 + 0.25 * 10, 10]);
      expect(calls).toEqual(['base', 'base', 'tuned', 'tuned']);
      await expect(
        annealedPrediction(predicts(''), predicts(''), { from: base, share: () => NaN }, 2)(tuned),
      ).rejects.toThrow('share got NaN at call 1 of 2');
      return [tuned, base];
    }));
});

describe('generate with annealed', () => {
  it('draws the images of `from` at share 0 and its own images at share 1', async () => {
    const pipeline = await StableDiffusionPipeline.fromPretrained(fixturePath('sd15-tiny/model'), {
      engine: new TfjsEngine(),
    });
    const shifted = mapTensors(pipeline.unet.params, (path, leaf) =>
      path === 'conv_out.bias' ? tensor1d(new Float32Array(4).fill(0.5)) : leaf,
    ) as Params;
    const settings = { numInferenceSteps: 3, seed: 7, height: 16, width: 16 };
    const draw = async (drawing: StableDiffusionPipeline, share?: (progress: number) => number, from = shifted) => {
      const { images, latents } = await drawing.generate('a cat', {
        ...settings,
        outputType: 'tensor',
        ...(share && { annealed: { from, share } }),
      });
      images.dispose();
      return [...latents.dataSync()];
    };
    const ownLatents = await draw(pipeline);
    const shiftedLatents = await draw(pipeline.with({ unet: pipeline.unet.withParams(shifted) }));
    expect(ownLatents).not.toEqual(shiftedLatents);
    expect(await draw(pipeline, () => 1)).toEqual(ownLatents);
    expect(await draw(pipeline, () => 0)).toEqual(shiftedLatents);
    const between = await draw(pipeline, (progress) => progress);
    expect(between).not.toEqual(ownLatents);
    expect(between).not.toEqual(shiftedLatents);
    const mixedWithItself = await draw(pipeline, () => 0.5, pipeline.unet.params);
    mixedWithItself.forEach((value, i) => expect(value).toBeCloseTo(ownLatents[i]!, 4));
    pipeline.dispose();
  });
});
