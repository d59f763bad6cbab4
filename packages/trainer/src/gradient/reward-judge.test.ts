import {
  add,
  dispose,
  mean,
  mul,
  randomUniform,
  square,
  tensor1d,
  tensor4d,
  type Tensor,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { TfjsEngine, useBackend } from '@alignprop/autograd-ext';
import { expectNoLeaks } from '@alignprop/autograd-ext/testing';
import { defineReward, loadReward, weightedSum, type RewardFunction } from '@alignprop/rewards';
import { RewardJudge, RewardScorer } from './reward-judge.js';

const brightness: RewardFunction = (images) => mean(images, [1, 2, 3]);
/** Counts how often its weight is read. */
const stored = () => {
  const w = { shape: [], dtype: 'F32', reads: 0, read: async () => (w.reads++, Float32Array.of(3)) };
  const reward = defineReward({
    params: { w },
    inputs: (prompts) => [tensor1d(prompts.map(({ length }) => length))],
    score: (params, images, lengths) =>
      add(mul(mean(square(images!), [1, 2, 3]), (params as { w: Tensor }).w), lengths!),
  });
  return { w, reward };
};

describe.each(['wasm', 'cpu'] as const)('RewardJudge on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  const judge = async (reward: RewardFunction) => {
    const engine = new TfjsEngine();
    const images = randomUniform([2, 4, 4, 3], 0, 1, 'float32', 1) as Tensor4D;
    const { rewards, terms, imageGradients } = await new RewardJudge(engine, reward).judge(images, {
      prompts: ['a', 'crab'],
      promptMetadata: [{}, {}],
      lossScale: 0.5,
    });
    const result = {
      pixels: [...images.dataSync()],
      rewards: [...rewards.dataSync()],
      terms,
      gradients: [...imageGradients.dataSync()],
    };
    dispose([images, rewards, imageGradients]);
    engine.dispose();
    return result;
  };

  it('calls a plain function', () =>
    expectNoLeaks(async () => {
      const { rewards, terms, gradients } = await judge(brightness);
      expect(rewards).toHaveLength(2);
      expect(terms).toEqual({});
      for (const slope of gradients) expect(slope).toBeCloseTo(-0.5 / 2 / 48, 7);
    }));

  it('runs a reward with a model on the engine, which reads its weights', () =>
    expectNoLeaks(async () => {
      const { w, reward } = stored();
      const { pixels, rewards, gradients } = await judge(reward);
      const energy = (from: number) => pixels.slice(from, from + 48).reduce((sum, x) => sum + x ** 2, 0) / 48;
      expect(rewards[0]).toBeCloseTo(3 * energy(0) + 1, 4);
      expect(rewards[1]).toBeCloseTo(3 * energy(48) + 4, 4);
      gradients.forEach((slope, i) => expect(slope).toBeCloseTo((-0.5 / 2) * 6 * (pixels[i]! / 48), 5));
      expect(w.reads).toBe(1);
      const loaded = await loadReward(reward);
      expect((await judge(loaded)).rewards).toEqual(rewards);
      loaded.dispose();
    }));

  it.each([
    ['functions', () => weightedSum({ a: [brightness, 2], b: [brightness, -1] })],
    ['rewards in parts', () => weightedSum({ a: [stored().reward, 2], b: [stored().reward, -1] })],
  ])('reports the terms of a sum of %s', (_, make) =>
    expectNoLeaks(async () => {
      const { rewards, terms } = await judge(make());
      expect(Object.keys(terms)).toEqual(['a', 'b']);
      rewards.forEach((reward, i) => expect(reward).toBeCloseTo(terms.a![i]! + terms.b![i]!, 5));
    }),
  );

  it.each([
    ['a function', () => brightness],
    ['a reward in parts', () => stored().reward],
    ['a sum', () => weightedSum({ a: [stored().reward, 2], b: [stored().reward, -1] })],
  ])('scores with %s the same without a gradient', (_, make) =>
    expectNoLeaks(async () => {
      const { pixels, rewards } = await judge(make());
      const engine = new TfjsEngine();
      const images = tensor4d(pixels, [2, 4, 4, 3]);
      expect([
        ...(await new RewardScorer(engine, make() as RewardFunction).score(images, ['a', 'crab'], [{}, {}])),
      ]).toEqual(rewards);
      engine.dispose();
      images.dispose();
    }),
  );

  it.each<[string, unknown]>([
    ['a function', (x: Tensor4D) => mean(x)],
    ['a reward in parts', defineReward({ params: {}, score: (_, x) => mean(x!) })],
  ])('refuses rewards of another shape from %s', async (_, reward) => {
    const images = randomUniform([2, 4, 4, 3]) as Tensor4D;
    const judged = new RewardJudge(new TfjsEngine(), reward as RewardFunction).judge(images, {
      prompts: ['', ''],
      promptMetadata: [{}, {}],
    });
    await expect(judged).rejects.toThrow('rewardFunction: returned shape [], expected [2], one reward an image.');
    images.dispose();
  });
});
