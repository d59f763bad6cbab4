import {
  conv2d,
  elementCount,
  flatten,
  flattenTensors,
  gradients,
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
  abs,
  add,
  dispose,
  div,
  matMul,
  mul,
  ones,
  randomNormal,
  reshape,
  slice,
  sqrt,
  square,
  sum,
  tensor,
  tidy,
  transpose,
  zeros,
  type Tensor,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { testBackends } from '../../../fixtures/engines.js';
import { expectClose } from '../../../fixtures/index.js';
import {
  addDora,
  addLora,
  applyLora,
  fuseLora,
  LoraLayer,
  loraTensors,
  removeLora,
  scaleLora,
  unfuseLora,
  type LoraState,
} from './index.js';

const stored = (shape: number[], seed: number): StoredTensor => ({
  shape,
  dtype: 'F32',
  read: async () => random(seed).randn(elementCount(shape)),
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

describe.each(testBackends)('LoraLayer on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it('computes x·Wᵀ + scale·(x·Aᵀ)·Bᵀ for inputs of any rank', () => {
    const [w, a, b, x] = [randomNormal([5, 3]), randomNormal([2, 3]), randomNormal([5, 2]), randomNormal([7, 3])];
    const merged = add(w, mul(matMul(b as never, a as never), 1.5));
    const map = new LoraLayer({ base: w, loraA: a, loraB: b, scale: 1.5 });
    expect(map.shape).toEqual([5, 3]);
    expectClose(map.apply(x), matMul(x as never, transpose(merged)), 1e-5);
    expect(linear(randomNormal([2, 4, 3]), map).shape).toEqual([2, 4, 5]);
  });

  it('has gradients that agree with finite differences', () => {
    const [w, a, b, x] = [randomNormal([5, 3]), randomNormal([2, 3]), randomNormal([5, 2]), randomNormal([4, 3])];
    checkGradient((xs, as, bs) => new LoraLayer({ base: w, loraA: as!, loraB: bs!, scale: 0.7 }).apply(xs!), [x, a, b]);
  });

  it.each([
    ['a convolution', [5, 3, 3, 3], { stride: 1, padding: 1 }],
    ['a strided convolution', [5, 3, 3, 3], { stride: 2, padding: 1 }],
    ['a 1×1 convolution', [5, 3, 1, 1], {}],
  ] as const)(
    'computes %s of the merged kernel, with gradients that agree with finite differences',
    (_, shape, options) => {
      const [out, ...inputs] = shape;
      const [w, a, b] = [randomNormal([...shape]), randomNormal([2, ...inputs]), randomNormal([out, 2, 1, 1])];
      const product = reshape(matMul(reshape(b, [out, 2]), reshape(a, [2, -1])), [...shape]);
      const x = randomNormal([2, 4, 4, 3]) as Tensor4D;
      const layerOf = (as: Tensor, bs: Tensor) => new LoraLayer({ base: w, loraA: as, loraB: bs, scale: 1.5 });
      const bias = randomNormal([out]);
      const expected = conv2d(x, add(w, mul(product, 1.5)), bias, options);
      expectClose(conv2d(x, layerOf(a, b), bias, options), expected, 1e-5);
      checkGradient((xs, as, bs) => conv2d(xs as Tensor4D, layerOf(as!, bs!), bias, options), [x, a, b]);
    },
  );

  it.each([
    ['output', [5, 3]],
    ['input', [5, 3]],
    ['output', [4, 3, 3, 3]],
    ['input', [4, 3, 3, 3]],
  ] as const)('computes DoRA along the %s axis of [%s], whatever runs it', async (axis, shape) => {
    const [out, ...inputs] = shape;
    const isKernel = shape.length === 4;
    const [w, a] = [randomNormal([...shape]), randomNormal([2, ...inputs])];
    const b = randomNormal(isKernel ? [out, 2, 1, 1] : [out, 2]);
    const magnitude = randomNormal([axis === 'output' ? out : inputs[0]]);
    const layerOf = ([as, bs, m]: Tensor[], exactGradient = true) =>
      new LoraLayer({ base: w, loraA: as!, loraB: bs!, scale: 0.5, dora: { magnitude: m!, axis, exactGradient } });
    const run = (x: Tensor, weight: LinearMap | Tensor) =>
      isKernel ? conv2d(x as Tensor4D, weight, undefined, { padding: 1 }) : linear(x, weight);
    const x = randomNormal(isKernel ? [2, 4, 4, 3] : [6, 3]);
    const fused = await fuseLora({ weight: layerOf([a, b, magnitude]) });
    const merged = tensor(await (flatten(fused)['weight'] as StoredTensor).read(), [...shape]);
    expectClose(run(x, layerOf([a, b, magnitude])), run(x, merged), 1e-5);
    // One row (or column) of the merged weight has the length that the magnitude says.
    const first = axis === 'output' ? slice(merged, 0, 1) : slice(merged, [0, 0], [-1, 1]);
    expectClose(sqrt(sum(square(first))), abs(reshape(slice(magnitude, 0, 1), [])), 1e-5);
    checkGradient((xs, ...parts) => run(xs!, layerOf(parts as Tensor[])), [x, a, b, magnitude]);
  });

  it("treats DoRA's lengths as constants, as peft does, unless exactGradient is set", () => {
    const [w, a, b, x] = [randomNormal([5, 3]), randomNormal([2, 3]), randomNormal([5, 2]), randomNormal([4, 3])];
    const lora = (as: Tensor) => new LoraLayer({ base: w, loraA: as, loraB: b, scale: 0.5 });
    const dora = (as: Tensor, exactGradient: boolean) =>
      new LoraLayer({ ...lora(as), dora: { magnitude: ones([5]), axis: 'output', exactGradient } });
    const factors = div(dora(a, true).apply(x), lora(a).apply(x)); // 1/|V|, the same for all rows of x
    const gradientOf = (fn: (as: Tensor) => Tensor) => gradients(() => fn(a), [a]).grads[0]!;
    const constant = gradientOf((as) => mul(lora(as).apply(x), factors));
    expectClose(
      gradientOf((as) => dora(as, false).apply(x)),
      constant,
      1e-5,
    );
    expect(() =>
      expectClose(
        gradientOf((as) => dora(as, true).apply(x)),
        constant,
        0.05,
      ),
    ).toThrow();
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
      ] as LoraLayer;
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

  it('adapts convolutions: A has the kernel, B is 1×1', () => {
    const adapted = addLora(params(), { ...config, targetModules: ['conv'] }, random(0));
    const { loraA, loraB } = flatten(adapted)['conv.weight'] as LoraLayer;
    expect([loraA.shape, loraB.shape]).toEqual([
      [2, 4, 3, 3],
      [4, 2, 1, 1],
    ]);
    const bound = 1 / Math.sqrt(4 * 9);
    const uniform = addLora(
      params(),
      { ...config, targetModules: ['conv'], initLoraWeights: 'kaiming-uniform' },
      random(0),
    );
    const largest = Math.max(...(flatten(uniform)['conv.weight'] as LoraLayer).loraA.dataSync().map(Math.abs));
    expect(largest).toBeGreaterThan(0.8 * bound);
    expect(largest).toBeLessThanOrEqual(bound);
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
        'Linear layers and convolutions here: blocks.0.attn.to_q, blocks.0.attn.to_out.0,',
    );
    expect(attempt(['conv', 'norm'])).toThrow(
      'only linear layers and convolutions (weights of two or four dimensions) can be adapted, ' +
        'got blocks.0.norm [4], blocks.1.norm [4]. Name other targets.',
    );
    expect(attempt(['to_q'], addLora(params(), config, random(0)))).toThrow(
      'already adapted: blocks.0.attn.to_q [6,4], blocks.1.attn.to_q [6,4]',
    );
  });

  it.each([
    [{ r: 0 }, 'r got 0, expected an integer from 1 to 4096'],
    [
      { r: 1.5, loraAlpha: NaN },
      'r got 1.5, expected an integer from 1 to 4096; loraAlpha got NaN, expected a number above 0',
    ],
    [{ targetModules: [] }, 'targetModules got [], expected a list of names'],
    [{ initLoraWeights: 'pissa' as never }, "initLoraWeights got 'pissa', expected 'gaussian' or 'kaiming-uniform'"],
  ])('refuses %o', (wrong, message) => {
    expect(() => addLora(params(), { ...config, ...wrong }, random(0))).toThrow(`LoraConfig: ${message}`);
  });
});

describe('addDora', () => {
  beforeAll(() => useBackend('wasm'));

  it('starts with the lengths of the rows, so that the output does not change, and trains m', async () => {
    const base = tree() as unknown as Params;
    const engine = new TfjsEngine();
    await expectNoLeaks(async () => {
      const params = await addDora(base, config, random(0));
      expect(Object.keys(trainable(params))).toEqual(Object.keys(loraTensors(params)));
      expect(loraTensors(params)['blocks.0.attn.to_q.lora_magnitude_vector']!.shape).toEqual([6]);
      const x = tensor(random(9).randn(12), [3, 4]);
      const [before] = await engine.compile(model)(base, x);
      const [after] = await engine.compile(model)(params, x);
      expectClose(after!, before!, 1e-6);
      engine.dispose();
      return { before, after, x, lora: loraTensors(params) };
    });
  });

  it('leaves nothing behind when a weight cannot be read', async () => {
    const broken = { ...stored([3, 3], 1), read: () => Promise.reject(new Error('disk')) };
    const base = { a: { weight: stored([3, 3], 1) }, b: { weight: broken } } as unknown as Params;
    await expectNoLeaks(async () => {
      await expect(addDora(base, { ...config, targetModules: ['a', 'b'] }, random(0))).rejects.toThrow('disk');
    });
  });
});

describe('applyLora', () => {
  beforeAll(() => useBackend('wasm'));
  const params = () => tree() as unknown as Params;
  const state = (modules: LoraState['modules']): LoraState => ({ modules });
  const factors = (a: number[], b: number[]) => ({ kind: 'lora', a: stored(a, 7), b: stored(b, 8), alpha: 4 }) as const;
  const pair = (module: string, out = 6, size = 4, r = 2) => ({ [module]: factors([r, size], [out, r]) });

  it('multiplies the option scale by alpha/r', async () => {
    const adapted = await applyLora(params(), state(pair('blocks.1.attn.to_q')), { scale: 0.25 });
    expect((flatten(adapted)['blocks.1.attn.to_q.weight'] as LoraLayer).scale).toBe(0.5);
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

  it.each([
    [768, 'Stable Diffusion 1.x'],
    [1024, 'Stable Diffusion 2.x'],
    [2048, 'SDXL'],
  ])('names the file that does not fit, and its model by the width %i of texts', async (width, model) => {
    const other = { location: 'a/style.safetensors', modules: pair('mid_block_attn2_to_k', 6, width) };
    await expect(applyLora(params(), other)).rejects.toThrow(
      'applyLora: a/style.safetensors: 1 of 1 modules do not fit: mid_block_attn2_to_k: not in the model. ' +
        `It is for ${model}. Use an adapter made for this model.`,
    );
  });

  it('lists modules that do not fit in one error', async () => {
    const wrong = {
      ...pair('nowhere.to_q'),
      ...pair('blocks.0.norm'),
      ...pair('blocks.0.attn.to_q', 6, 5),
      'blocks.1.attn.to_q': { kind: 'lora', a: stored([2, 4], 7), alpha: 4 },
    } as const;
    await expect(applyLora(params(), state(wrong))).rejects.toThrow(
      'applyLora: 4 of 4 modules do not fit: nowhere.to_q: not in the model, ' +
        'blocks.0.norm: neither linear nor a convolution (weight [4]), ' +
        'blocks.0.attn.to_q: A [2,5] and B [6,2] got, expected [r, 4] and [6, r], blocks.1.attn.to_q: lacks B.',
    );
    const mixed = { 'blocks.0.attn.to_q': factors([2, 4], [6, 3]) };
    const ofRank0 = { 'blocks.0.attn.to_q': factors([0, 4], [6, 0]) };
    await expect(applyLora(params(), state(ofRank0))).rejects.toThrow('blocks.0.attn.to_q: has rank 0.');
    await expect(applyLora(params(), state(mixed))).rejects.toThrow('A [2,4] and B [6,3] got');
    await expect(applyLora(params(), state({}))).rejects.toThrow('the adapter is empty');
    await expect(
      applyLora(await applyLora(params(), state(pair('blocks.0.attn.to_q'))), state(pair('blocks.0.attn.to_q'))),
    ).rejects.toThrow('adapted already');
    await expect(applyLora(params(), state(pair('blocks.0.attn.to_q')), { scale: NaN })).rejects.toThrow(
      'scale got NaN',
    );
  });

  it('does not train what no LoRA file would hold', async () => {
    const change = { misfit: () => undefined, apply: () => Promise.resolve() };
    const modules = {
      'blocks.0.attn.to_q': { kind: 'merged', weight: change },
      'blocks.1.attn.to_q': { ...factors([2, 4], [6, 2]), baseChange: change },
    } as const;
    await expect(applyLora(params(), state(modules), { trainable: true })).rejects.toThrow(
      /blocks\.0\.attn\.to_q: can be applied but not trained.*blocks\.1\.attn\.to_q: can be applied but not trained/,
    );
    dispose(loraTensors(await applyLora(params(), state(modules))));
  });

  it('leaks no tensor when a read fails', async () => {
    const { a, alpha } = factors([2, 4], [6, 2]);
    const b = { ...stored([6, 2], 1), read: () => Promise.reject(new Error('disk')) };
    const broken = {
      'blocks.1.attn.to_q': factors([2, 4], [6, 2]),
      'blocks.0.attn.to_q': { kind: 'lora', a, b, alpha },
    } as const;
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
    expect((flatten(scaleLora(scaleLora(params, 0.5), 4))['blocks.0.attn.to_q.weight'] as LoraLayer).scale).toBe(3);
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
