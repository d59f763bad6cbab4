import { useBackend, vjp } from '@alignprop/autograd-ext';
import {
  add,
  mean,
  memory,
  mul,
  randomUniform,
  scalar,
  square,
  tensor1d,
  tensor4d,
  tidy,
  type Tensor,
  type Tensor1D,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { engineNames, startEngine, testBackends } from '../../../../fixtures/engines.js';
import { defineReward, isModelReward, loadReward, type DetailedReward, type RewardFunction } from '../reward.js';
import { testReward } from '../testing/test-reward.js';
import { capped } from './capped.js';
import { normalised } from './normalised.js';
import { negated, scaled } from './scaled.js';
import { weightedSum } from './weighted-sum.js';

const brightness: RewardFunction = (images) => mean(images, [1, 2, 3]);
const energy: RewardFunction = (images) => mean(square(images), [1, 2, 3]);

/** The same function as a model reward: with a stored weight of 1, and the prompts' lengths as an input times 0. */
const stored = (fn: RewardFunction) =>
  defineReward({
    params: { w: { shape: [], dtype: 'F32', read: async () => Float32Array.of(1) } },
    inputs: (prompts) => [tensor1d(prompts.map(({ length }) => length))],
    score: (params, images, lengths) =>
      add(mul(fn(images as Tensor4D, [], []), (params as { w: Tensor }).w), mul(lengths!, 0)),
  });

const combinators = {
  scaled: (of: <R extends RewardFunction>(fn: R) => RewardFunction) => scaled(of(brightness), -2.5),
  negated: (of) => negated(of(energy)),
  weightedSum: (of) => weightedSum({ brightness: [of(brightness), 3], energy: [of(energy), -0.5] }),
  'weightedSum with a reward of weight 0': (of) =>
    weightedSum({ brightness: [of(brightness), 3], energy: [of(energy), 0] }),
  nested: (of) =>
    weightedSum({ all: [weightedSum({ energy: [of(energy), 2] }), 0.25], bright: [scaled(of(brightness), 3), 1] }),
  capped: (of) => capped(of(brightness), 0.7),
  normalised: (of) => {
    const reward = normalised(of(energy));
    reward.memory!.observe({ raw: Float32Array.of(0.1, 0.4, 0.2) });
    return reward;
  },
  'all of them': (of) => weightedSum({ a: [normalised(capped(of(brightness), 0.9)), 2], b: [negated(of(energy)), 1] }),
} satisfies Record<string, (of: (fn: RewardFunction) => RewardFunction) => DetailedReward>;
const cases = Object.entries(combinators);

const pictures = (n: number, size = 4) => randomUniform([n, size, size, 3], 0, 1, 'float32', 1) as Tensor4D;
const values = (tensor: Tensor) => [...tensor.dataSync()];
const score = (reward: RewardFunction, images: Tensor4D) =>
  values(reward(images, Array(images.shape[0]).fill('x') as string[], Array(images.shape[0]).fill({})));
const outputs = (reward: DetailedReward, images: Tensor4D) =>
  reward.outputs(images, Array(images.shape[0]).fill('x') as string[], Array(images.shape[0]).fill({})).map(values);

describe.each(testBackends)('combinators on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it.each(cases)('%s of functions keeps the contract of rewards', (_, of) => testReward(of((fn) => fn)));

  it.each(cases)('%s of model rewards is a model reward and keeps the contract', async (_, of) => {
    const reward = of(stored);
    expect(isModelReward(reward)).toBe(true);
    if (!isModelReward(reward)) return;
    const loaded = await loadReward(reward);
    await testReward(loaded);
    expect(loaded.terms).toEqual(reward.terms);
    const [fromFiles, plain] = [
      outputs(loaded, pictures(2)),
      outputs(
        of((fn) => fn),
        pictures(2),
      ),
    ];
    fromFiles.forEach((output, i) => output.forEach((value, j) => expect(value).toBeCloseTo(plain[i]![j]!, 5)));
    loaded.dispose();
  });

  it('a combination of a model reward and a function is a function', () => {
    expect(isModelReward(weightedSum({ a: [stored(brightness), 1], b: [energy, 1] }))).toBe(false);
  });
});

describe.each(engineNames)('combinators on the engine %s', (name) => {
  it('run with weights in files; a compiled reward follows its memory', async () => {
    const engine = await startEngine(name);
    const { model, terms, memory } = weightedSum({
      a: [normalised(stored(brightness)), 2],
      b: [capped(stored(energy), 0.3), 1],
    });
    expect(terms).toEqual(['a', 'b', 'a.raw', 'b.uncapped']);
    const images = pictures(2);
    const run = engine.compileVjp(model.score, { wrt: [0] });
    const evaluate = async () => {
      const inputs = model.inputs!(['a', 'bc'], [{}, {}]);
      expect(inputs.map(({ shape }) => shape)).toEqual([[2], [], [], [2]]);
      const { value, aux, inputs: gradients } = await run(model.params, [images, ...inputs], tensor1d([1, 1]));
      return [value, ...aux, gradients[0]!].map(values);
    };
    const [total, a, b, raw, uncapped, gradient] = await evaluate();
    const [plainBrightness, plainEnergy] = [score(brightness, images), score(energy, images)];
    for (const i of [0, 1]) {
      expect(raw![i]).toBeCloseTo(plainBrightness[i]!, 5);
      expect(uncapped![i]).toBeCloseTo(plainEnergy[i]!, 5);
      expect(a![i]).toBeCloseTo(2 * raw![i]!, 5);
      expect(b![i]).toBeCloseTo(Math.min(uncapped![i]!, 0.3), 5);
      expect(total![i]).toBeCloseTo(a![i]! + b![i]!, 5);
    }
    expect(plainEnergy.some((score) => score > 0.3)).toBe(true);
    expect(gradient![0]).toBeCloseTo(2 / 48 + (plainEnergy[0]! > 0.3 ? 0 : (2 * values(images)[0]!) / 48), 5);
    memory!.observe({ 'a.raw': Float32Array.of(10, 14), 'b.uncapped': Float32Array.of(0, 0) });
    const [, later] = await evaluate();
    for (const i of [0, 1]) expect(later![i]).toBeCloseTo((2 * (raw![i]! - 12)) / 2, 4);
    engine.dispose();
  });
});

describe('weightedSum', () => {
  beforeAll(() => useBackend('wasm'));

  it('reports weighted terms by name, and the terms of its parts unweighted', () => {
    const reward = weightedSum({ all: [weightedSum({ energy: [energy, 2] }), 0.25], brightness: [brightness, 3] });
    expect(reward.terms).toEqual(['all', 'brightness', 'all.energy']);
    const images = pictures(2);
    const [b, e] = [score(brightness, images), score(energy, images)];
    const [total, all, bright, inner] = outputs(reward, images);
    for (const i of [0, 1]) {
      expect(all![i]).toBeCloseTo(0.5 * e[i]!, 5);
      expect(bright![i]).toBeCloseTo(3 * b[i]!, 5);
      expect(inner![i]).toBeCloseTo(2 * e[i]!, 5);
      expect(total![i]).toBeCloseTo(0.5 * e[i]! + 3 * b[i]!, 5);
    }
    expect(score(reward, images)).toEqual(total);
  });

  it('reports a reward of weight 0 with its own score, and leaves it out of the sum', () => {
    const reward = weightedSum({ brightness: [brightness, 3], energy: [energy, 0] });
    const images = pictures(2);
    const [total, bright, logged] = outputs(reward, images);
    expect(logged).toEqual(score(energy, images));
    expect(total).toEqual(bright);
    const gradientOf = (fn: RewardFunction) =>
      values(
        vjp((_, x) => fn(x as Tensor4D, ['', ''], [{}, {}]) as Tensor1D, {}, [images], tensor1d([1, 1])).inputs[0]!,
      );
    expect(gradientOf(reward)).toEqual(gradientOf(scaled(brightness, 3)));
  });

  it('passes prompts and metadata to its parts', () => {
    const seen: unknown[] = [];
    const spy: RewardFunction<{ id: number }> = (images, prompts, metadata) => (
      seen.push(prompts, metadata),
      mean(images, [1, 2, 3])
    );
    weightedSum({ spy: [negated(spy), 1] })(pictures(1), ['a crab'], [{ id: 7 }]);
    expect(seen).toEqual([['a crab'], [{ id: 7 }]]);
  });

  it('rejects weights that are not finite and duplicate names', () => {
    expect(() => scaled(brightness, NaN)).toThrow('scaled: factor got NaN, expected a finite number.');
    expect(() => weightedSum({})).toThrow('weightedSum: parts got {}, expected at least one');
    expect(() => weightedSum({ a: [brightness, Infinity], b: [energy, 1], c: [undefined as never, 2] })).toThrow(
      "weightedSum: 'a' got [a function, Infinity], 'c' got [undefined, 2], expected [a function, a finite weight].",
    );
    expect(() => weightedSum({ a: [capped(brightness, 1), 1], 'a.uncapped': [energy, 1] })).toThrow(
      "weightedSum: two terms are called 'a.uncapped'",
    );
  });
});

describe('capped', () => {
  beforeAll(() => useBackend('wasm'));
  const grey = (...levels: number[]) =>
    tensor4d(
      levels.flatMap((level) => Array<number>(12).fill(level)),
      [levels.length, 2, 2, 3],
    );

  it('has no gradient above the target, and the full gradient below', () => {
    const reward = capped(scaled(brightness, 12), 6);
    const { value, inputs } = vjp((_, images) => reward(images as Tensor4D, [], []), {}, [grey(0.25, 0.75, 0.5)]);
    expect(values(value)).toEqual([3, 6, 6]);
    const gradient = values(inputs[0]!);
    expect(gradient.slice(0, 12)).toEqual(Array(12).fill(1));
    expect(gradient.slice(12, 24)).toEqual(Array(12).fill(0));
  });

  it('reports the uncapped score as a term', () => {
    const reward = capped(weightedSum({ b: [brightness, 1] }), 0.5);
    expect(reward.terms).toEqual(['uncapped', 'uncapped.b']);
    expect(outputs(reward, grey(0.25, 0.75))).toEqual([
      [0.25, 0.5],
      [0.25, 0.75],
      [0.25, 0.75],
    ]);
  });

  it('rejects a target that is not finite', () =>
    expect(() => capped(brightness, NaN)).toThrow('capped: target got NaN, expected a finite number.'));
});

describe('normalised', () => {
  beforeAll(() => useBackend('wasm'));
  const raw = (...scores: number[]) => ({ raw: Float32Array.from(scores) });
  const level = (value: number) =>
    tidy(() => mul(scalar(value), tensor4d(Array(12).fill(1), [1, 2, 2, 3])) as Tensor4D);

  it('does not scale before the second observed score', () => {
    const reward = normalised(brightness);
    expect(score(reward, level(0.5))[0]).toBeCloseTo(0.5, 6);
    reward.memory!.observe(raw(0.25));
    expect(score(reward, level(0.5))[0]).toBeCloseTo(0.25, 6);
  });

  it('weighs every score equally, however they are split into steps', () => {
    const scores = [0.5, 0.25, 1, 0.125, 0.75, 0.375, 0.875];
    const average = scores.reduce((a, b) => a + b) / scores.length;
    const deviation = Math.sqrt(scores.reduce((sum, x) => sum + (x - average) ** 2, 0) / scores.length);
    for (const cuts of [[7], [1, 6], [3, 0, 4], [1, 1, 1, 1, 1, 1, 1]]) {
      const reward = normalised(brightness);
      let start = 0;
      for (const cut of cuts) reward.memory!.observe(raw(...scores.slice(start, (start += cut))));
      expect(score(reward, level(0.5))[0]).toBeCloseTo((0.5 - average) / deviation, 5);
    }
  });

  it('divides the gradient by the standard deviation, and does not change within a step', () => {
    const reward = normalised(brightness);
    reward.memory!.observe(raw(10, 14)); // a deviation of 2
    const images = level(0.5);
    const { value, inputs } = vjp((_, x) => reward(x as Tensor4D, [''], [{}]), {}, [images]);
    expect(values(value)[0]).toBeCloseTo(-5.75, 5);
    for (const slope of values(inputs[0]!)) expect(slope).toBeCloseTo(1 / 12 / 2, 6);
    expect(score(reward, images)).toEqual(values(value));
  });

  it('continues exactly from a state that went through JSON', () => {
    const [first, second] = [0, 1].map(() =>
      weightedSum({
        a: [scaled(normalised(brightness), 2), 1],
        b: [energy, 1],
        c: [normalised(capped(normalised(energy), 3)), 1],
      }),
    );
    expect(first!.terms).toEqual(['a', 'b', 'c', 'a.raw', 'c.raw', 'c.raw.uncapped', 'c.raw.uncapped.raw']);
    const step = (n: number) =>
      Object.fromEntries(first!.terms.map((term, i) => [term, Float32Array.of(0.1 * i + n, 0.3 * i, 1 / (n + 1))]));
    first!.memory!.observe(step(0));
    second!.memory!.restore(JSON.parse(JSON.stringify(first!.memory!.state())));
    for (const reward of [first!, second!]) reward.memory!.observe(step(1));
    expect(second!.memory!.state()).toEqual(first!.memory!.state());
    expect(first!.memory!.state()).toMatchObject({
      parts: { a: { parts: { reward: { count: 6 } } }, c: { own: { count: 6 } } },
    });
    expect(outputs(second!, pictures(2))).toEqual(outputs(first!, pictures(2)));
  });

  it('rejects scores and states that do not fit', () => {
    const reward = normalised(brightness);
    expect(() => reward.memory!.observe(raw(1, NaN))).toThrow(
      'normalised: observed score 1 got NaN, expected a finite number.',
    );
    expect(() => reward.memory!.observe({ other: Float32Array.of(1) })).toThrow(
      "Hand in the values of the term 'raw'.",
    );
    expect(() => reward.memory!.restore({ count: -1 })).toThrow(
      'normalised: state got {"count":-1}, expected { count, mean, squares }.',
    );
    const sum = weightedSum({ a: [normalised(brightness), 1], b: [normalised(energy), 1] });
    expect(() => sum.memory!.restore({ parts: { a: { count: 0, mean: 0, squares: 0 } } })).toThrow(
      'weightedSum: state got one of the parts [a], expected [a, b].',
    );
    const before = sum.memory!.state();
    expect(() => sum.memory!.restore({ parts: { a: { count: 3, mean: 1, squares: 2 }, b: null } })).toThrow(
      'normalised: state got null',
    );
    expect(sum.memory!.state()).toEqual(before);
  });

  it('is the only source of memory: other combinations have none', () => {
    expect(weightedSum({ a: [brightness, 1] }).memory).toBeUndefined();
  });

  it('leaks no tensor when it is called', () => {
    const reward = normalised(brightness);
    const images = level(0.5);
    const { numTensors } = memory();
    score(reward, images);
    expect(memory().numTensors).toBe(numTensors + 1); // the scores
  });
});
