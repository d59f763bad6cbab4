import { memory, mul, ones, tensor1d, tidy, variable, zeros, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '../backend.js';
import { conv2d } from '../ops/conv2d.js';
import { silu } from '../ops/silu.js';
import { expectNoLeaks } from '../testing/index.js';
import type { Params } from '../params.js';
import type { Engine, SavedForward } from './engine.js';
import { processBytes } from './memory-budget.js';
import { DryRunEngine, totalOf } from './memory-estimate.js';
import { OnnxRuntimeEngine } from './onnxruntime/engine.js';

beforeAll(() => useBackend('cpu'));

const model = (params: Params, x: Tensor) => {
  const { a, b, scale } = params as unknown as Record<'a' | 'b' | 'scale', Tensor>;
  return mul(
    conv2d(silu(conv2d(x as Tensor4D, a, undefined, { padding: 1 })) as Tensor4D, b, undefined, { padding: 1 }),
    scale,
  );
};
const weights = () =>
  ({ a: ones([8, 8, 3, 3]), b: ones([3, 8, 3, 3]), scale: tidy(() => variable(tensor1d([1, 1, 1]))) }) as Params;
const input = () => ones([2, 16, 16, 8]);

describe('DryRunEngine', () => {
  it('returns zeros of the right shapes and leaks no tensors', () =>
    expectNoLeaks(async () => {
      const params = weights();
      const x = input();
      const engine = new DryRunEngine({ engine: 'onnxruntime', maxMemory: 1e9 });
      const [value] = await engine.compile(model)(params, x);
      const product = await engine.compileVjp(model, { wrt: [0] })(params, [x]);
      expect([value!.shape, product.value.shape, product.inputs[0]!.shape, Object.keys(product.params)]).toEqual([
        [2, 16, 16, 3],
        [2, 16, 16, 3],
        [2, 16, 16, 8],
        ['scale'],
      ]);
      expect([...value!.dataSync()].every((number) => number === 0)).toBe(true);
      return [
        value,
        product.value,
        ...product.inputs,
        ...Object.values(product.params),
        x,
        ...Object.values(params as Record<string, Tensor>),
      ] as Tensor[];
    }).then((tensors) => tensors.forEach((tensor) => tensor.dispose())));

  it('saves as many bytes for backward as the real engine, up to the limit, and reuses released memory', async () => {
    const [params, x] = [weights(), input()];
    const room = 3e5;
    const maxMemory = processBytes + 4 * (576 + 216) + room;
    const real = new OnnxRuntimeEngine({ threads: 1, maxMemory });
    const dry = new DryRunEngine({ engine: 'onnxruntime', maxMemory, nameOf: () => 'model' });
    const fill = async ({ compileVjp }: Engine) => {
      const { forward } = compileVjp(model, { wrt: [0] });
      const saved: SavedForward[] = [];
      for (;;) {
        const next = await forward!(params, [x]);
        if (!next) return { forward: forward!, saved };
        saved.push(next);
      }
    };
    const [expected, { forward, saved }] = [await fill(real), await fill(dry)];
    const bytes = saved[0]!.bytes;
    expect(saved.map((one) => one.bytes)).toEqual(expected.saved.map((one) => one.bytes));
    expect(saved.length * bytes).toBeLessThanOrEqual(room);
    expect(saved.length * bytes).toBeGreaterThan(room / 2);
    saved[0]!.release();
    expect((await forward(params, [x]))?.bytes).toBe(bytes);
    saved[0]!.release(); // the memory is another run's now
    expect(await forward(params, [x])).toBeUndefined();
    expect(dry.peak.kept).toEqual({ model: saved.length * bytes });
    expect(totalOf(dry.peak)).toBeGreaterThan(saved.length * bytes);
    expected.saved.forEach((one) => one.release());
    real.dispose();
  });

  it('saves nothing for backward on tfjs and counts the memory of its tape', async () => {
    const before = memory().numBytes;
    const [params, x] = [weights(), input()];
    const engine = new DryRunEngine({ engine: 'tfjs', maxMemory: 1e9 });
    const run = engine.compileVjp(model, { wrt: [0] });
    expect(run.forward).toBeUndefined();
    await run(params, [x]);
    const { activations, weights: frozen, kept } = engine.peak;
    // the convolved image, the activated one, and their gradient
    expect(activations).toBeGreaterThan(3 * 2 * 16 * 16 * 8 * 4);
    expect([frozen, kept]).toEqual([3 * 4 * (576 + 216), {}]);
    const larger = new DryRunEngine({ engine: 'tfjs', maxMemory: 1e9 });
    await larger.compileVjp(model, { wrt: [0] })(params, [zeros([4, 16, 16, 8])]);
    expect(larger.peak.activations / activations).toBeCloseTo(2, 1);
    expect(memory().numBytes - before).toBeLessThan(1e6);
  });
});
