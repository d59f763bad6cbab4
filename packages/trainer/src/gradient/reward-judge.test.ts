import {
  add,
  dispose,
  image,
  mean,
  mul,
  randomUniform,
  round,
  scalar,
  square,
  tensor1d,
  tensor4d,
  tidy,
  unstack,
  variable,
  type Tensor,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { OnnxRuntimeEngine, TfjsEngine, useBackend } from '@alignprop/autograd-ext';
import { expectNoLeaks } from '@alignprop/autograd-ext/testing';
import { defineReward, loadReward, weightedSum, type RewardFunction } from '@alignprop/rewards';
import { RewardScorer } from '@alignprop/rewards/interface';
import { RewardJudge } from './reward-judge.js';

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
      const scorer = new RewardScorer(make() as RewardFunction, engine);
      expect((await scorer.score(images, ['a', 'crab'], [{}, {}])).scores).toEqual(rewards);
      engine.dispose();
      images.dispose();
    }),
  );

  it.each<[string, unknown]>([
    ['a function', (x: Tensor4D) => mean(x)],
    ['a reward in parts', defineReward({ params: {}, score: (_, x) => mean(x!) })],
  ])('refuses rewards of another shape from %s', async (_, reward) => {
    await expect(judge(reward as RewardFunction)).rejects.toThrow(
      'rewardFunction: returned a tensor of shape [], expected a tensor [2] or 2 numbers, one score an image.',
    );
  });
});

describe.each([
  ['tfjs', () => new TfjsEngine()],
  ['ONNX Runtime', () => new OnnxRuntimeEngine()],
] as const)('RewardJudge with a reward of the user on %s', (_, engineOf) => {
  beforeAll(() => useBackend('wasm'));
  const inputs = { prompts: ['a', 'crab'], promptMetadata: [{}, {}] };
  const twoImages = () => randomUniform([2, 4, 4, 3], 0, 1, 'float32', 1) as Tensor4D;

  /** Judges the same images once for each step, and returns the first reward of each. */
  const rewardsOf = async (reward: unknown, steps = 3, after: (step: number) => void = () => {}) => {
    const engine = engineOf();
    const judge = new RewardJudge(engine, reward as RewardFunction);
    const images = twoImages();
    const values: number[] = [];
    for (let step = 0; step < steps; step++) {
      const { rewards, imageGradients } = await judge.judge(images, { ...inputs, context: { step, epoch: step } });
      values.push((await rewards.data())[0]!);
      dispose([rewards, imageGradients]);
      after(step);
    }
    images.dispose();
    engine.dispose();
    return values;
  };
  const zeroed = (images: Tensor4D) => mul(mean(images, [1, 2, 3]), 0);

  it('uses the current value of a captured number, of a variable and of the step', async () => {
    let weight = 1;
    expect(
      await rewardsOf(
        (x: Tensor4D) => add(zeroed(x), weight),
        3,
        () => weight++,
      ),
    ).toEqual([1, 2, 3]);
    const w = variable(scalar(1));
    expect(
      await rewardsOf(
        (x: Tensor4D) => add(zeroed(x), w),
        3,
        () => tidy(() => w.assign(add(w, 1))),
      ),
    ).toEqual([1, 2, 3]);
    w.dispose();
    const scheduled: RewardFunction = (x, _prompts, _metadata, context) => add(zeroed(x), context!.step * 2);
    expect(await rewardsOf(scheduled)).toEqual([0, 2, 4]);
    let scale = 1;
    const inParts = defineReward({ params: {}, score: (_params, x) => add(zeroed(x as Tensor4D), scale) });
    expect(await rewardsOf(inParts, 3, () => scale++)).toEqual([1, 2, 3]);
    const byStep = defineReward({
      params: {},
      inputs: (_prompts, _metadata, context) => [scalar(context!.step)],
      score: (_params, x, step) => add(zeroed(x as Tensor4D), step!),
    });
    expect(await rewardsOf(byStep)).toEqual([0, 1, 2]);
  });

  it('warns once of a term of a sum that has no gradient', async () => {
    const warnings: string[] = [];
    const engine = engineOf();
    const sum = weightedSum({ bright: [brightness, 1], count: [() => [1, 2] as never, 1] });
    const judge = new RewardJudge(engine, sum, (message) => warnings.push(message));
    for (let step = 0; step < 2; step++) dispose(Object.values(await judge.judge(twoImages(), inputs)) as never);
    expect(warnings).toEqual(['The terms count of the reward have no gradient: they are reported, and train nothing.']);
    engine.dispose();
  });

  const accepted: readonly (readonly [string, (x: Tensor4D) => unknown])[] = [
    ['a pair of scores and info', (x) => [mean(x, [1, 2, 3]), {}]],
    ['a column', (x) => mean(mean(x, [2, 3]), 1, true)],
    ['an array of scalars', (x) => unstack(mean(x, [1, 2, 3]))],
  ];
  it.each(accepted)('takes %s', async (_name, reward) => {
    const [expected] = await rewardsOf(brightness, 1);
    expect((await rewardsOf(reward, 1))[0]).toBeCloseTo(expected!, 6);
  });

  const refused: readonly (readonly [string, unknown, RegExp])[] = [
    ['nothing', function mine() {}, /^rewardFunction 'mine': returned nothing \(undefined\), expected a tensor \[2\]/],
    ['an async function', async () => [1, 2], /returned a promise \(an async function\).*DDPOTrainer/],
    ['an async function that fails', () => Promise.reject(new Error('late')), /returned a promise/],
    ['a string', () => 'high', /returned a string \('high'\)/],
    ['too few numbers', () => [1], /returned an array of 1 number \[1\], expected a tensor \[2\] or 2 numbers/],
    ['numbers', () => [1, 2], /returned an array of 2 numbers \[1, 2\] without a gradient.*DDPOTrainer/],
    ['values that it reads', (x: Tensor4D) => tensor1d([...x.dataSync().slice(0, 2)]), /without a gradient/],
    ['rounded scores', (x: Tensor4D) => round(mean(x, [1, 2, 3])), /without a gradient/],
    [
      'an operation without a gradient beside others',
      (x: Tensor4D) => add(mean(x, [1, 2, 3]), mean(image.rotateWithOffset(x, 1), [1, 2, 3])),
      /gradient/,
    ],
    ['an error', (x: { pixels: number[] }) => x.pixels[0], /rewardFunction: TypeError: Cannot read properties/],
  ];
  it.each(refused)('refuses %s in one line', async (_name, reward, message) => {
    const failure = await rewardsOf(reward, 1).catch((error: unknown) => error as Error);
    expect((failure as Error).message).toMatch(message);
    expect((failure as Error).message).not.toContain('\n');
  });
});
