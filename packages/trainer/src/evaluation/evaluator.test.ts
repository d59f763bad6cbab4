import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '@alignprop/autograd-ext';
import { expectNoLeaks } from '@alignprop/autograd-ext/testing';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import type { BlackBoxReward, RewardFunction } from '@alignprop/rewards';
import { brightness, tinyConfig, tinyPipeline } from '../__fixtures__/tiny-run.js';
import { parseAlignPropConfig } from '../config/config.js';
import { evaluator } from './evaluator.js';

describe('evaluator', () => {
  let pipeline: StableDiffusionPipeline;
  beforeAll(async () => {
    await useBackend('wasm');
    pipeline = await tinyPipeline();
    await evaluator(pipeline.engine, { config, prompts: ['crab'], rewardFunction: brightness })(pipeline).then(
      ({ images }) => images.dispose(),
    ); // so that the weights are read before tensors are counted
  });
  const config = parseAlignPropConfig(tinyConfig);

  it('draws the same images from the same pipeline, each prompt from different noise', () =>
    expectNoLeaks(async () => {
      const seen: unknown[] = [];
      const rewardFunction: RewardFunction<number> = (images, prompts, metadata) => (
        seen.push([prompts, metadata]),
        brightness(images, prompts, metadata)
      );
      const evaluate = evaluator(pipeline.engine, {
        config,
        prompts: ['crab', 'fox', 'crab'],
        promptMetadata: [1, 2, 3],
        rewardFunction,
      });
      let imageCount = 0;
      const [first, second] = [await evaluate(pipeline, { onImage: () => imageCount++ }), await evaluate(pipeline)];
      expect(imageCount).toBe(3);
      expect(seen.slice(0, 3)).toEqual([
        [['crab'], [1]],
        [['fox'], [2]],
        [['crab'], [3]],
      ]);
      expect(first.images.shape).toEqual([3, 16, 16, 3]);
      expect(second.rewards).toEqual(first.rewards);
      expect(new Set(first.rewards).size).toBe(3);
      expect(first.mean).toBeCloseTo((first.rewards[0]! + first.rewards[1]! + first.rewards[2]!) / 3, 6);
      return [first.images, second.images];
    }));

  it('draws prompts with their own negative prompts, and others with those of the configuration in turn', () =>
    expectNoLeaks(async () => {
      const drawn: unknown[] = [];
      const spying = pipeline.with({});
      const generate = spying.generate.bind(spying);
      spying.generate = (prompts, options) => (
        drawn.push([prompts, options?.negativePrompt]),
        generate(prompts, options)
      );
      const evaluate = evaluator(pipeline.engine, {
        config: { ...config, negative_prompts: ['dull', 'striped'] },
        prompts: ['crab', 'fox', 'owl'],
        negativePrompts: [undefined, undefined, 'blurry'],
        rewardFunction: brightness,
      });
      const { images } = await evaluate(spying);
      expect(drawn).toEqual([
        ['crab', 'dull'],
        ['fox', 'striped'],
        ['owl', 'blurry'],
      ]);
      return images;
    }));

  it('takes a reward that is async and returns numbers, and passes it the step; refuses one that is not a number', () =>
    expectNoLeaks(async () => {
      const steps: unknown[] = [];
      const lengths: BlackBoxReward<undefined> = async (images, prompts, _metadata, context) => {
        await images.data();
        steps.push(context);
        return prompts.map(({ length }) => length);
      };
      const options = { config, prompts: ['an owl', 'fox'] };
      const evaluate = evaluator(pipeline.engine, { ...options, rewardFunction: lengths });
      const { images, mean } = await evaluate(pipeline, { context: { step: 4, epoch: 4 } });
      expect(mean).toBe(4.5);
      expect(steps).toEqual([
        { step: 4, epoch: 4 },
        { step: 4, epoch: 4 },
      ]);
      const bad = evaluator(pipeline.engine, { ...options, rewardFunction: () => [NaN] });
      await expect(bad(pipeline)).rejects.toThrow(
        "the score of a held-out image ('an owl') got NaN, expected a number.",
      );
      return images;
    }));

  it('reports the diversity of several images per prompt', () =>
    expectNoLeaks(async () => {
      const evaluate = evaluator(pipeline.engine, {
        config: { ...config, eval_images_per_prompt: 2 },
        prompts: ['crab', 'fox'],
        rewardFunction: brightness,
      });
      const { images, rewards, diversity } = await evaluate(pipeline);
      expect([images.shape[0], rewards.length]).toEqual([4, 4]);
      expect(diversity).toBeGreaterThan(0);
      expect(diversity).toBeLessThan(1);
      return images;
    }));

  it('stops when its signal is aborted, and refuses an empty list of prompts', async () => {
    const evaluate = evaluator(pipeline.engine, { config, prompts: ['crab'], rewardFunction: brightness });
    await expect(evaluate(pipeline, { signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow('enough');
    expect(() => evaluator(pipeline.engine, { config, prompts: [], rewardFunction: brightness })).toThrow(
      'evaluator: prompts got none',
    );
  });
});
