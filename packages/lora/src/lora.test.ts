import {
  flatten,
  flattenTensors,
  linear,
  random,
  TfjsEngine,
  trainable,
  useBackend,
  type LinearMap,
  type ModelFunction,
  type Params,
  type StoredTensor,
} from '@alignprop/autograd-ext';
import { checkGradient, expectNoLeaks } from '@alignprop/autograd-ext/testing';
import {
  add,
  matMul,
  mul,
  ones,
  randomNormal,
  tensor,
  tidy,
  transpose,
  zeros,
  type Tensor,
} from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { expectClose } from '../../../fixtures/index.js';
import {
  addLora,
  applyLora,
  fuseLora,
  LoraLinear,
  loraTensors,
  removeLora,
  scaleLora,
  unfuseLora,
  type LoraState,
} from './index.js';

const stored = (shape: number[], seed: number): StoredTensor => ({
  shape,
  dtype: 'F32',
  read: async () => random(seed).randn(shape[0]! * shape[1]!),
});

/** A tree like that of a UNet: two attentions, a convolution and norms. */
const tree = () => ({
  blocks: [
    {
      attn: { to_q: { weight: stored([6, 4], 1) }, to_out: [{ weight: stored([4, 6], 2), bias: zeros([4]) }] },
      norm: { weight: ones([4]) },
    },
    {
      attn: { to_q: { weight: stored([6, 4], 3) }, to_out: [{ weight: stored([4, 6], 4), bias: zeros([4]) }] },
      norm: { weight: ones([4]) },
    },
  ],
  conv: { weight: zeros([4, 4, 3, 3]) },
});
type Tree = {
  blocks: { attn: { to_q: { weight: Tensor | LinearMap }; to_out: { weight: Tensor | LinearMap; bias: Tensor }[] } }[];
};
const model: ModelFunction = (params, x) =>
  (params as unknown as Tree).blocks.reduce(
    (h, { attn }) => linear(linear(h!, attn.to_q.weight), attn.to_out[0]!.weight, attn.to_out[0]!.bias),
    x!,
  );
const config = { r: 2, loraAlpha: 3, targetModules: ['to_q', 'to_out.0'] };

describe.each(['wasm', 'cpu'] as const)('LoraLinear on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it('computes x·Wᵀ + scale·(x·Aᵀ)·Bᵀ for inputs of any rank', () => {
    const [w, a, b, x] = [randomNormal([5, 3]), randomNormal([2, 3]), randomNormal([5, 2]), randomNormal([7, 3])];
    const merged = add(w, mul(matMul(b as never, a as never), 1.5));
    const map = new LoraLinear(w, a, b, 1.5);
    expect(map.shape).toEqual([5, 3]);
    expectClose(map.apply(x), matMul(x as never, transpose(merged)), 1e-5);
    expect(linear(randomNormal([2, 4, 3]), map).shape).toEqual([2, 4, 5]);
  });

  it('has gradients that agree with finite differences', () => {
    const [w, a, b, x] = [randomNormal([5, 3]), randomNormal([2, 3]), randomNormal([5, 2]), randomNormal([4, 3])];
    checkGradient((xs, as, bs) => new LoraLinear(w, as!, bs!, 0.7).apply(xs!), [x, a, b]);
  });

  it('trains and fuses without leaks', async () => {
    const engine = new TfjsEngine();
    const base = tree() as unknown as Params;
    const x = tensor(random(9).randn(12), [3, 4]);
    await expectNoLeaks(async () => {
      const params = addLora(base, config, random(0));
      for (const variable of Object.values(trainable(params))) tidy(() => variable.assign(ones(variable.shape)));
      const { value, params: gradients } = await engine.compileVjp(model)(params, [x]);
      expect(Object.keys(gradients)).toEqual(Object.keys(trainable(params)));
      const [fused] = await engine.compile(model)(await fuseLora(params), x);
      expectClose(fused!, value, 1e-5);
      engine.dispose();
      return { lora: loraTensors(params), value, gradients, fused };
    });
  });
});

describe('addLora', () => {
  beforeAll(() => useBackend('wasm'));
  const params = () => tree() as unknown as Params;

  it('makes A and B trainable and keeps the base frozen', () => {
    const adapted = addLora(params(), config, random(0));
    expect(Object.keys(trainable(adapted))).toEqual(
      [0, 1].flatMap((i) =>
        ['to_q', 'to_out.0'].flatMap((m) => ['A', 'B'].map((p) => `blocks.${i}.attn.${m}.lora_${p}.weight`)),
      ),
    );
    expect(Object.keys(flattenTensors(adapted))).toContain('blocks.0.attn.to_q.base_layer.weight');
    expect(Object.keys(loraTensors(adapted))).toEqual(Object.keys(trainable(adapted)));
  });

  it('initializes A by initLoraWeights and B with zeros', () => {
    const wide = { to_q: { weight: stored([2, 5000], 1) } } as unknown as Params;
    const adapterWith = (init?: 'gaussian' | 'kaiming-uniform') =>
      flatten(addLora(wide, { r: 4, loraAlpha: 4, targetModules: ['to_q'], initLoraWeights: init }, random(0)))[
        'to_q.weight'
      ] as LoraLinear;
    const standardDeviation = (values: ArrayLike<number>) =>
      Math.sqrt(Array.from(values).reduce((sum, v) => sum + v * v, 0) / values.length);
    expect(adapterWith().scale).toBe(1);
    expect(standardDeviation(adapterWith().loraA.dataSync())).toBeCloseTo(1 / 4, 2);
    expect(standardDeviation(adapterWith('kaiming-uniform').loraA.dataSync())).toBeCloseTo(1 / Math.sqrt(3 * 5000), 4);
    expect(Math.max(...adapterWith('kaiming-uniform').loraA.dataSync().map(Math.abs))).toBeLessThanOrEqual(
      1 / Math.sqrt(5000),
    );
    expect(
      adapterWith()
        .loraB.dataSync()
        .every((v) => v === 0),
    ).toBe(true);
  });

  it('draws the same adapter from the same seed, whatever the order of the keys', () => {
    const one = { a: { weight: stored([3, 3], 1) }, b: { weight: stored([3, 3], 2) } } as unknown as Params;
    const other = { b: { weight: stored([3, 3], 2) }, a: { weight: stored([3, 3], 1) } } as unknown as Params;
    const draw = (tree: Params) =>
      loraTensors(addLora(tree, { r: 1, loraAlpha: 1, targetModules: ['a', 'b'] }, random(5)))[
        'b.lora_A.weight'
      ]!.dataSync();
    expect(draw(one)).toEqual(draw(other));
  });

  it('names every target that it cannot adapt', () => {
    const attempt =
      (targetModules: string[], tree = params()) =>
      () =>
        addLora(tree, { r: 2, loraAlpha: 2, targetModules }, random(0));
    expect(attempt(['to_q', 'to_k', 'q'])).toThrow(
      "targetModules got to_k, q, which end no module's path. " +
        'Linear modules here: blocks.0.attn.to_q, blocks.0.attn.to_out.0,',
    );
    expect(attempt(['conv', 'norm'])).toThrow(
      'only linear modules (weights of two dimensions) can be adapted, ' +
        'got blocks.0.norm [4], blocks.1.norm [4], conv [4,4,3,3]',
    );
    expect(attempt(['to_q'], addLora(params(), config, random(0)))).toThrow(
      'already adapted: blocks.0.attn.to_q [6,4], blocks.1.attn.to_q [6,4]',
    );
  });

  it.each([
    [{ r: 0 }, 'r got 0, expected an integer of at least 1'],
    [
      { r: 1.5, loraAlpha: NaN },
      'r got 1.5, expected an integer of at least 1; loraAlpha got NaN, expected a number above 0',
    ],
    [{ targetModules: [] }, 'targetModules got [], expected a list of names'],
    [{ initLoraWeights: 'pissa' as never }, "initLoraWeights got 'pissa', expected 'gaussian' or 'kaiming-uniform'"],
  ])('refuses %o', (wrong, message) => {
    expect(() => addLora(params(), { ...config, ...wrong }, random(0))).toThrow(`LoraConfig: ${message}`);
  });
});

describe('applyLora', () => {
  beforeAll(() => useBackend('wasm'));
  const params = () => tree() as unknown as Params;
  const state = (tensors: LoraState['tensors']): LoraState => ({
    config: { r: 2, loraAlpha: 4, targetModules: ['to_q'] },
    tensors,
  });
  const pair = (module: string, out = 6, size = 4, r = 2) => ({
    [`${module}.lora_A.weight`]: stored([r, size], 7),
    [`${module}.lora_B.weight`]: stored([out, r], 8),
  });

  it('multiplies the option scale by alpha/r', async () => {
    const adapted = await applyLora(params(), state(pair('blocks.1.attn.to_q')), { scale: 0.25 });
    expect((flatten(adapted)['blocks.1.attn.to_q.weight'] as LoraLinear).scale).toBe(0.5);
    expect(Object.keys(trainable(adapted))).toEqual([]);
    expect(
      Object.keys(trainable(await applyLora(params(), state(pair('blocks.1.attn.to_q')), { trainable: true }))),
    ).toHaveLength(2);
  });

  it("finds kohya's modules by their underscored paths, and refuses ambiguous ones", async () => {
    const adapted = await applyLora(params(), state(pair('blocks_0_attn_to_out_0', 4, 6)));
    expect(Object.keys(loraTensors(adapted))[0]).toBe('blocks.0.attn.to_out.0.lora_A.weight');
    const twins = {
      a: { b_c: { weight: stored([6, 4], 1) } },
      a_b: { c: { weight: stored([6, 4], 2) } },
    } as unknown as Params;
    await expect(applyLora(twins, state(pair('a_b_c')))).rejects.toThrow('a_b_c: can mean a.b_c or a_b.c');
  });

  it('lists every module that does not fit in one error', async () => {
    const wrong = {
      ...pair('nowhere.to_q'),
      ...pair('conv'),
      ...pair('blocks.0.attn.to_q', 6, 5),
      ...pair('blocks.1.attn.to_q'),
    };
    delete (wrong as Record<string, unknown>)['blocks.1.attn.to_q.lora_B.weight'];
    await expect(applyLora(params(), state(wrong))).rejects.toThrow(
      'applyLora: 4 of 4 modules do not fit: nowhere.to_q: not in the model, ' +
        'conv: not linear (weight [4,4,3,3]), and only linear modules can be adapted, ' +
        'blocks.0.attn.to_q: A [2,5] and B [6,2] got, expected [r, 4] and [6, r], blocks.1.attn.to_q: lacks B.',
    );
    const mixed = {
      'blocks.0.attn.to_q.lora_A.weight': stored([2, 4], 1),
      'blocks.0.attn.to_q.lora_B.weight': stored([6, 3], 1),
    };
    await expect(applyLora(params(), state(mixed))).rejects.toThrow('A [2,4] and B [6,3] got');
    await expect(applyLora(params(), state({}))).rejects.toThrow('the adapter is empty');
    await expect(
      applyLora(await applyLora(params(), state(pair('blocks.0.attn.to_q'))), state(pair('blocks.0.attn.to_q'))),
    ).rejects.toThrow('adapted already');
    await expect(applyLora(params(), state(pair('blocks.0.attn.to_q')), { scale: NaN })).rejects.toThrow(
      'scale got NaN',
    );
  });

  it('leaks no tensor when a read fails', async () => {
    const broken = {
      ...pair('blocks.0.attn.to_q'),
      'blocks.0.attn.to_q.lora_B.weight': { ...stored([6, 2], 1), read: () => Promise.reject(new Error('disk')) },
    };
    const tree = params();
    await expectNoLeaks(async () => {
      await expect(applyLora(tree, state(broken))).rejects.toThrow('disk');
    });
  });
});

describe('fuseLora, scaleLora, removeLora', () => {
  beforeAll(() => useBackend('wasm'));

  it('fuses the values that the adapters have at the time of the call', async () => {
    const params = addLora(tree() as unknown as Params, config, random(0));
    for (const variable of Object.values(trainable(params))) variable.assign(ones(variable.shape));
    const fused = await fuseLora(params, { scale: 2 });
    for (const variable of Object.values(trainable(params))) variable.assign(zeros(variable.shape));
    const [weight, base] = await Promise.all([
      (flatten(fused)['blocks.0.attn.to_q.weight'] as StoredTensor).read(),
      stored([6, 4], 1).read(),
    ]);
    weight.forEach((value, i) => expect(value).toBeCloseTo(base[i]! + 2 * 1.5 * 2, 5)); // scale · α/r · Σ over r
  });

  it('restores the same adapters and weights', async () => {
    const base = tree() as unknown as Params;
    const params = addLora(base, config, random(0));
    const fused = await fuseLora(params);
    expect(loraTensors(fused)).toEqual({});
    for (const [path, leaf] of Object.entries(flatten(unfuseLora(fused)))) expect(leaf).toBe(flatten(params)[path]);
    for (const tree of [fused, params])
      for (const [path, leaf] of Object.entries(flatten(removeLora(tree)))) expect(leaf).toBe(flatten(base)[path]);
    expect((flatten(scaleLora(scaleLora(params, 0.5), 4))['blocks.0.attn.to_q.weight'] as LoraLinear).scale).toBe(3);
  });

  it('throws where the tree has no adapter', async () => {
    const base = tree() as unknown as Params;
    await expect(fuseLora(base)).rejects.toThrow('fuseLora: the tree has no adapter');
    await expect(fuseLora(base, { scale: Infinity })).rejects.toThrow('scale got Infinity');
    expect(() => unfuseLora(base)).toThrow('unfuseLora: the tree has no fused adapter');
    expect(() => scaleLora(base, 1)).toThrow('scaleLora: the tree has no adapter');
    expect(() => scaleLora(base, NaN)).toThrow('scale got NaN');
    expect(removeLora(base)).toEqual(base);
  });
});
