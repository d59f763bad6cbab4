import {
  clone,
  dispose,
  mean,
  memory,
  mul,
  neg,
  sqrt,
  square,
  sub,
  tidy,
  type Tensor1D,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { random, trainable, useBackend } from '@alignprop/autograd-ext';
import { DDIMScheduler, type StableDiffusionPipeline } from '@alignprop/diffusion';
import { addLora, loraTensors } from '@alignprop/lora';
import { beforeAll, describe, expect, it } from 'vitest';
import { brightness, collect, tinyPipeline, tinyTrainer } from './__fixtures__/tiny-run.js';
import { lastK } from './estimators/draft.js';
import { NonFiniteError } from './optim/non-finite.js';
import type { ImageSamples } from './step/image-samples.js';

let pipeline: StableDiffusionPipeline;
beforeAll(async () => {
  await useBackend('wasm');
  pipeline = await tinyPipeline();
});

/** All trained values in one list. */
const weights = (of: StableDiffusionPipeline) =>
  Object.values(trainable(of.unet.params)).flatMap((x) => [...x.dataSync()]);

/** A pipeline that starts from the same latents every time. */
function sameNoise(from: StableDiffusionPipeline): StableDiffusionPipeline {
  const same = from.with({});
  same.prepareLatents = (options) => from.prepareLatents({ ...options, generator: random(11) });
  same.with = (parts) => sameNoise(from.with(parts));
  return same;
}

describe('AlignPropTrainer', () => {
  it('raises the reward of held-out prompts and noise', async () => {
    // rewards grey images
    const rewardFunction = (images: Tensor4D) => neg(mul(mean(square(sub(images, 0.5)), [1, 2, 3]), 10)) as Tensor1D;
    const trainer = tinyTrainer({
      pipeline,
      rewardFunction,
      config: {
        num_epochs: 10,
        train_learning_rate: 0.03,
        truncated_backprop_timestep: 0,
        sample_eta: 0,
        sample_num_steps: 2,
      },
    });
    const judge = async () => {
      const { images, latents } = await trainer.pipeline.generate(['snail', 'zebra'], {
        outputType: 'tensor',
        seed: 99,
        numInferenceSteps: 2,
        guidanceScale: 5,
        height: 16,
        width: 16,
      });
      const score = tidy(() => mean(rewardFunction(images)).dataSync()[0]!);
      dispose([images, latents]);
      return score;
    };
    const before = await judge();
    await collect(trainer);
    expect(await judge()).toBeGreaterThan(before + 0.05);
    trainer.dispose();
  });

  it('is deterministic for a seed', async () => {
    const run = async (seed: number) => {
      const trainer = tinyTrainer({ pipeline, config: { seed } });
      const metrics = await collect(trainer);
      const result = { metrics, weights: weights(trainer.pipeline) };
      trainer.dispose();
      return result;
    };
    const [first, again, other] = [await run(3), await run(3), await run(4)];
    expect(again).toEqual(first);
    expect(other.metrics).not.toEqual(first.metrics);
  });

  it("reports TRL's metrics: loss -mean(reward), an epoch per step, deviations averaged over rounds", async () => {
    const seen: number[][] = [];
    const rewardFunction = (images: Tensor4D) => brightness(images, [], []);
    const trainer = tinyTrainer({
      pipeline,
      rewardFunction,
      config: { train_gradient_accumulation_steps: 2 },
      imageSamplesHook: ({ rewards }) => void seen.push([...rewards.dataSync()]),
    });
    const metrics = await collect(trainer);
    expect(metrics.map(({ epoch, globalStep }) => [epoch, globalStep])).toEqual([
      [0, 0],
      [1, 1],
    ]);
    for (const { loss, rewardMean, rewardStd, gradNorm } of metrics) {
      expect(loss).toBe(-rewardMean);
      expect(rewardStd).toBeGreaterThan(0);
      expect(gradNorm).toBeGreaterThan(0);
    }
    expect(seen).toHaveLength(2); // the last micro-batch of each step
    trainer.dispose();
  });

  it('takes a plan whatever the options of the plan that it replaces say', async () => {
    const config = { sample_num_steps: 2, truncated_backprop_rand: true };
    expect(() => tinyTrainer({ pipeline, config })).toThrow('truncated_rand_backprop_minmax: got');
    const trainer = tinyTrainer({ pipeline, config, plan: lastK(1) });
    for (const { gradNorm } of await collect(trainer)) expect(gradNorm).toBeGreaterThan(0);
    trainer.dispose();
  });

  it('averages over micro-batches: two with the same image have the gradient of one', async () => {
    const run = async (rounds: number) => {
      const trainer = tinyTrainer({
        pipeline: sameNoise(pipeline),
        promptFunction: () => 'cat',
        config: { sample_eta: 0, num_epochs: 1, train_batch_size: 1, train_gradient_accumulation_steps: rounds },
      });
      const [metrics] = await collect(trainer);
      trainer.dispose();
      return metrics!;
    };
    const [one, two] = [await run(1), await run(2)];
    expect(two.gradNorm).toBeCloseTo(one.gradNorm, 6);
    expect(two.rewardMean).toBeCloseTo(one.rewardMean, 6);
  });

  it('trains without guidance, where TRL breaks, and with images that are not square', async () => {
    const shapes: number[][] = [];
    const trainer = tinyTrainer({
      pipeline,
      config: { sample_guidance_scale: 1, height: 16, width: 24, num_epochs: 1 },
      imageSamplesHook: ({ images }) => void shapes.push(images.shape),
    });
    expect((await collect(trainer))[0]!.gradNorm).toBeGreaterThan(0);
    expect(shapes).toEqual([[2, 16, 24, 3]]);
    trainer.dispose();
    expect(() => tinyTrainer({ pipeline, config: { height: 20 } })).toThrow(/height.*multiple of 8/);
  });

  it('takes negative prompts from a list in turn, across micro-batches and steps', async () => {
    const encoded: string[][] = [];
    const spying = pipeline.with({});
    const encodeNegative = spying.encodeNegativePrompt.bind(spying);
    const trainer = tinyTrainer({
      pipeline: spying,
      config: { negative_prompts: ['blurry, dark', 'grey', 'red'], num_epochs: 1 },
    });
    trainer.pipeline.encodeNegativePrompt = (prompts, batch) => (
      encoded.push([...prompts!]),
      encodeNegative(prompts, batch)
    );
    await collect(trainer);
    expect(encoded).toContainEqual(['blurry, dark', 'grey', 'red']);
    expect(encoded.filter((prompts) => prompts.includes('grey'))).toHaveLength(1);
    trainer.dispose();
  });

  it('takes the negative prompts of prompts that have their own, and else those of the configuration', async () => {
    const encoded: string[][] = [];
    const drawn = [['cat', undefined, 'blurry'] as const, ['fox', undefined] as const].values();
    const trainer = tinyTrainer({
      pipeline: pipeline.with({}),
      promptFunction: () => drawn.next().value!,
      config: { negative_prompts: 'grey', num_epochs: 1 },
    });
    const encodeNegative = trainer.pipeline.encodeNegativePrompt.bind(trainer.pipeline);
    trainer.pipeline.encodeNegativePrompt = (prompts, batch) => (
      encoded.push([...prompts!]),
      encodeNegative(prompts, batch)
    );
    await collect(trainer);
    expect(encoded).toEqual([['blurry', 'grey']]);
    trainer.dispose();
  });

  it('passes prompts and metadata to the reward', async () => {
    const seen: unknown[] = [];
    const trainer = tinyTrainer<{ id: number }>({
      pipeline,
      promptFunction: () => ['cat', { id: 7 }],
      rewardFunction: (images, prompts, metadata) => (
        seen.push([prompts, metadata]),
        brightness(images, prompts, metadata)
      ),
      config: { num_epochs: 1 },
    });
    await collect(trainer);
    expect(seen).toEqual([
      [
        ['cat', 'cat'],
        [{ id: 7 }, { id: 7 }],
      ],
    ]);
    trainer.dispose();
    const wrong = tinyTrainer({ pipeline, promptFunction: (() => undefined) as never });
    await expect(collect(wrong)).rejects.toThrow(/promptFunction: returned undefined, expected a prompt/);
    wrong.dispose();
  });

  it('T7: calls the image hook every log_image_freq steps, with a tracker although none is configured', async () => {
    const calls: [ImageSamples<undefined>['prompts'], number, number][] = [];
    const trainer = tinyTrainer({
      pipeline,
      config: { num_epochs: 5, log_image_freq: 2, sample_num_steps: 2 },
      imageSamplesHook: async ({ images, prompts, promptMetadata, rewards }, globalStep, tracker) => {
        await tracker.logImages?.(images, prompts, globalStep);
        expect(promptMetadata).toHaveLength(2);
        expect(rewards.shape).toEqual([2]);
        calls.push([prompts, images.shape[0], globalStep]);
      },
    });
    await collect(trainer);
    expect(calls.map(([, , step]) => step)).toEqual([0, 2, 4]);
    trainer.dispose();
  });

  it('T8: trains an existing trainable adapter further', async () => {
    const params = addLora(pipeline.unet.params, { r: 2, loraAlpha: 2, targetModules: ['to_q'] }, random(5));
    const adapted = pipeline.with({ unet: pipeline.unet.withParams(params) });
    const before = weights(adapted);
    const trainer = tinyTrainer({ pipeline: adapted });
    await collect(trainer);
    trainer.dispose();
    expect(weights(adapted)).toHaveLength(before.length);
    expect(weights(adapted)).not.toEqual(before);
    const frozen = Object.fromEntries(Object.entries(loraTensors(params)).map(([name, x]) => [name, clone(x)]));
    expect(Object.keys(frozen)).toEqual(Object.keys(trainable(params)));
    dispose([frozen, loraTensors(params)]);
  });

  it('replaces the scheduler by DDIM, as TRL does', async () => {
    const trainer = tinyTrainer({ pipeline });
    expect(trainer.pipeline.scheduler).toBeInstanceOf(DDIMScheduler);
    trainer.dispose();
  });

  it('leaks no tensor over steps, errors, and its whole life', async () => {
    const whole = memory().numTensors;
    const trainer = tinyTrainer({
      pipeline,
      config: { num_epochs: 3, train_gradient_accumulation_steps: 2, negative_prompts: 'grey' },
    });
    const after: number[] = [];
    for await (const _ of trainer.train()) after.push(memory().numTensors);
    expect(after[1]).toBe(after[0]);
    expect(after[2]).toBe(after[0]);
    trainer.dispose();
    await Promise.resolve();
    expect(memory().numTensors).toBe(whole);
  });
});

describe('a step with non-finite or useless values', () => {
  it('throws an error that names step, prompt and tensor, and changes nothing', async () => {
    let call = 0;
    const trainer = tinyTrainer({
      pipeline,
      promptFunction: () => 'a red crab',
      config: { num_epochs: 3 },
      rewardFunction: (images) => (call++ < 1 ? brightness(images, [], []) : mul(brightness(images, [], []), NaN)),
    });
    const steps = trainer.train();
    await steps.next();
    const [before, tensors] = [weights(trainer.pipeline), memory().numTensors];
    const error = await steps.next().catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(NonFiniteError);
    expect((error as Error).message).toMatch(
      /at step 1 the reward of image 0 \('a red crab'\) is NaN\. The images are finite.*No weight was changed/,
    );
    expect(weights(trainer.pipeline)).toEqual(before);
    expect(memory().numTensors).toBe(tensors);
    expect(trainer.globalStep).toBe(1);
    trainer.dispose();
  });

  it('finds an infinite gradient of a finite reward', async () => {
    // The square root has an infinite slope at 0.
    const rewardFunction = (images: Tensor4D) => mean(sqrt(sub(images, images)), [1, 2, 3]);
    const trainer = tinyTrainer({ pipeline, promptFunction: () => 'cat', rewardFunction: rewardFunction as never });
    const error = (await collect(trainer).catch((caught: unknown) => caught)) as Error;
    expect(error.message).toMatch(
      new RegExp(
        "at step 0 a gradient is not finite for the prompts 'cat', 'cat'\\. " +
          "The first such tensor is the reward's gradient of the images\\.",
      ),
    );
    trainer.dispose();
  });

  it('blames the denoising chain where its latents are not finite', async () => {
    const trainer = tinyTrainer({ pipeline });
    const [name, variable] = Object.entries(trainable(trainer.pipeline.unet.params))[0]!;
    expect(name).toMatch(/lora_A/);
    const broken = tidy(() => mul(variable, NaN));
    variable.assign(broken);
    broken.dispose();
    await expect(collect(trainer)).rejects.toThrow(
      /the denoising chain of the prompts .* the latents after denoising step 0 \(t = \d+\)/,
    );
    trainer.dispose();
  });

  it('warns of a zero gradient', async () => {
    const warnings: string[] = [];
    const trainer = tinyTrainer({
      pipeline,
      config: { num_epochs: 1 },
      rewardFunction: (images) => mean(mul(images, 0), [1, 2, 3]),
      logger: { info: () => {}, warn: (message) => void warnings.push(message) },
    });
    await collect(trainer);
    expect(warnings.join()).toMatch(/gradient of step 0 is zero/);
    trainer.dispose();
  });

  it('refuses rewards of a wrong shape', async () => {
    const trainer = tinyTrainer({ pipeline, rewardFunction: ((images: Tensor4D) => mean(images)) as never });
    await expect(collect(trainer)).rejects.toThrow(
      /rewardFunction: returned a tensor of shape \[\], expected a tensor \[2\]/,
    );
    trainer.dispose();
  });
});
