import { fill, memory, zeros } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '@alignprop/autograd-ext';
import { expectNoLeaks } from '@alignprop/autograd-ext/testing';
import type { GenerateOptions, GeneratedTensors, Prompt, StableDiffusionPipeline } from '@alignprop/diffusion';
import type { BlackBoxReward, RewardFunction } from '@alignprop/rewards';
import { brightness, tinyConfig, tinyPipeline } from '../__fixtures__/tiny-run.js';
import { parseAlignPropConfig } from '../config/config.js';
import { evaluator, type EvaluatedImages } from './evaluator.js';
import { ShownImages } from './shown-images.js';

type Draw = (prompt: Prompt, options: GenerateOptions & { outputType: 'tensor' }) => Promise<GeneratedTensors>;

describe('evaluator', () => {
  let pipeline: StableDiffusionPipeline;
  beforeAll(async () => {
    await useBackend('wasm');
    pipeline = await tinyPipeline();
    // so that the weights are read before tensors are counted
    await evaluator(pipeline.engine, { config, prompts: ['crab'], rewardFunction: brightness })(pipeline);
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
      const drawn: unknown[] = [];
      const onImages = ({ images, ...others }: EvaluatedImages) => void drawn.push([images.shape, others]);
      const [first, second] = [await evaluate(pipeline, { onImages }), await evaluate(pipeline)];
      expect(drawn[1]).toEqual([[1, 16, 16, 3], { prompt: 'fox', rewards: [first.rewards[1]] }]);
      expect(drawn).toHaveLength(3);
      expect(seen.slice(0, 3)).toEqual([
        [['crab'], [1]],
        [['fox'], [2]],
        [['crab'], [3]],
      ]);
      expect(second.rewards).toEqual(first.rewards);
      expect(new Set(first.rewards).size).toBe(3);
      expect(first.mean).toBeCloseTo((first.rewards[0]! + first.rewards[1]! + first.rewards[2]!) / 3, 6);
    }));

  it('draws with the settings of its own that the configuration has, and is as training otherwise', async () => {
    const drawn: unknown[] = [];
    const spying = pipeline.with({});
    const generate = spying.generate.bind(spying) as Draw;
    spying.generate = ((prompt, options) => (drawn.push(options), generate(prompt, options))) as Draw as never;
    const own = {
      ...{ eval_num_steps: 2, eval_eta: 0, eval_guidance_scale: 4, eval_negative_prompts: 'dull' },
      ...{ eval_height: 8, eval_width: 24, eval_seed: 7 },
    };
    const evaluate = (more: object) =>
      evaluator(pipeline.engine, { config: { ...config, ...more }, prompts: ['crab'], rewardFunction: brightness })(
        spying,
      );
    const as = [await evaluate({}), await evaluate({ seed: 7 }), await evaluate({ eval_seed: 7 }), await evaluate(own)];
    expect(drawn[0]).toMatchObject({
      numInferenceSteps: 3,
      eta: 1,
      guidanceScale: 5,
      height: 16,
      negativePrompt: undefined,
    });
    expect(drawn[3]).toMatchObject({ numInferenceSteps: 2, eta: 0, guidanceScale: 4, height: 8, width: 24 });
    expect(drawn[3]).toMatchObject({ negativePrompt: 'dull' });
    expect(as[1]!.rewards).not.toEqual(as[0]!.rewards);
    expect(as[2]!.rewards).toEqual(as[1]!.rewards);
  });

  it('holds the images of one prompt at a time, and a few to show', async () => {
    const bytes: number[] = [];
    const rewardFunction: BlackBoxReward<undefined> = () => (bytes.push(memory().numBytes), [0.5]);
    const prompts = Array.from({ length: 40 }, (_, i) => `prompt ${i}`);
    const evaluate = evaluator(pipeline.engine, { config, prompts, rewardFunction });
    const drawing = {
      generate: () => Promise.resolve({ images: fill([1, 64, 64, 3], 0.5), latents: zeros([1, 8, 8, 4]) }),
    } as unknown as StableDiffusionPipeline;
    const before = memory().numTensors;
    const shown = new ShownImages(3);
    expect(await evaluate(drawing, { onImages: (drawn) => shown.add(drawn) })).toMatchObject({ mean: 0.5 });
    expect(bytes[39]).toBe(bytes[3]);
    await shown.show(({ images, prompts: names, rewards }) => {
      expect(images.shape).toEqual([3, 64, 64, 3]);
      expect([names, [...rewards.dataSync()]]).toEqual([prompts.slice(0, 3), [0.5, 0.5, 0.5]]);
    });
    expect(memory().numTensors).toBe(before);
  });

  it('draws prompts with their own negative prompts, and others with those of the configuration in turn', () =>
    expectNoLeaks(async () => {
      const drawn: unknown[] = [];
      const spying = pipeline.with({});
      const generate = spying.generate.bind(spying) as Draw;
      spying.generate = ((prompt, options) => (
        drawn.push([prompt, options.negativePrompt]),
        generate(prompt, options)
      )) as Draw as never;
      const evaluate = evaluator(pipeline.engine, {
        config: { ...config, negative_prompts: ['dull', 'striped'] },
        prompts: ['crab', 'fox', 'owl'],
        negativePrompts: [undefined, undefined, 'blurry'],
        rewardFunction: brightness,
      });
      await evaluate(spying);
      expect(drawn).toEqual([
        ['crab', 'dull'],
        ['fox', 'striped'],
        ['owl', 'blurry'],
      ]);
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
      const { mean } = await evaluate(pipeline, { context: { step: 4, epoch: 4 } });
      expect(mean).toBe(4.5);
      expect(steps).toEqual([
        { step: 4, epoch: 4 },
        { step: 4, epoch: 4 },
      ]);
      const bad = evaluator(pipeline.engine, { ...options, rewardFunction: () => [NaN] });
      await expect(bad(pipeline)).rejects.toThrow(
        "the score of a held-out image ('an owl') got NaN, expected a number.",
      );
    }));

  it('reports the diversity of several images per prompt', () =>
    expectNoLeaks(async () => {
      const evaluate = evaluator(pipeline.engine, {
        config: { ...config, eval_images_per_prompt: 2 },
        prompts: ['crab', 'fox'],
        rewardFunction: brightness,
      });
      const { rewards, diversity } = await evaluate(pipeline);
      expect(rewards).toHaveLength(4);
      expect(diversity).toBeGreaterThan(0);
      expect(diversity).toBeLessThan(1);
    }));

  it('stops when its signal is aborted, and refuses an empty list of prompts', async () => {
    const evaluate = evaluator(pipeline.engine, { config, prompts: ['crab'], rewardFunction: brightness });
    await expect(evaluate(pipeline, { signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow('enough');
    expect(() => evaluator(pipeline.engine, { config, prompts: [], rewardFunction: brightness })).toThrow(
      'evaluator: prompts got none',
    );
  });
});
