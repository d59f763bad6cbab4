import { elementCount, random, useBackend, type Params, type StoredTensor } from '@alignprop/autograd-ext';
import { expectNoLeaks } from '@alignprop/autograd-ext/testing';
import { add, matMul, mul, tensor, tidy, zeros, type Tensor } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { expectClose } from '../../../fixtures/index.js';
import { applyLora, loraModules, loraTensors, mixLora, stateTensors, type LoraState } from './index.js';

const stored = (shape: number[], seed: number): StoredTensor => ({
  shape,
  dtype: 'F32',
  read: async () => random(seed).randn(elementCount(shape)),
});

/** An adapter for matrices of shape [6, 4], or of another shape. */
const adapter = (
  names: readonly string[],
  seed: number,
  { r = 2, alpha = 3, size = 4, kernel = [] as number[] } = {},
): LoraState => ({
  modules: Object.fromEntries(
    names.map((name, i) => [
      name,
      {
        kind: 'lora',
        a: stored([r, size, ...kernel], seed + 10 * i),
        b: stored([6, r, ...kernel.map(() => 1)], seed + 10 * i + 1),
        alpha,
      },
    ]),
  ),
  components: ['unet'],
});
const base = {
  one: { to_q: { weight: stored([6, 4], 1) } },
  two: { to_q: { weight: stored([6, 4], 2) } },
} as unknown as Params;

/** Returns ΔW of both modules, zeros for a module without an adapter. */
async function deltas(state: LoraState): Promise<Tensor[]> {
  const params = await applyLora(base, state);
  const factors = loraTensors(params);
  const modules = loraModules(params);
  const changes = ['one.to_q', 'two.to_q'].map((name) =>
    tidy(() =>
      modules[name]
        ? mul(matMul(modules[name].loraB as never, modules[name].loraA as never), modules[name].scale)
        : zeros([6, 4]),
    ),
  );
  Object.values(factors).forEach((x) => x.dispose());
  return changes;
}
const values = async (state: LoraState, key: string) =>
  tensor(await (stateTensors(state)[key] as StoredTensor).read(), stateTensors(state)[key]!.shape as [number, number]);

describe('mixLora', () => {
  beforeAll(() => useBackend('cpu'));
  const names = ['one.to_q', 'two.to_q'];

  it('interpolates the changes of the weights in mode delta, whatever the ranks, scales and modules', async () => {
    const [first, second] = [adapter(names, 1), adapter(['two.to_q'], 5, { r: 3, alpha: 1 })];
    const mixed = mixLora(first, second, { coefficient: 0.3 });
    const [x, y, z] = [await deltas(first), await deltas(second), await deltas(mixed)];
    z.forEach((delta, i) => expectClose(delta, add(mul(x[i]!, 0.3), mul(y[i]!, 0.7)), 1e-5));
    expect(stateTensors(mixed)['two.to_q.lora_A.weight']!.shape).toEqual([5, 4]);
    expect(mixed).toMatchObject({ modules: { 'one.to_q': { alpha: 2 } }, components: ['unet'] });
    (await deltas(mixLora(first, undefined, { coefficient: 0.25 }))).forEach((delta, i) =>
      expectClose(delta, mul(x[i]!, 0.25), 1e-5),
    );
  });

  it('interpolates A and B in mode factor, which multiplies the change by c² without a second adapter', async () => {
    const [first, second] = [adapter(names, 1), adapter(names, 5)];
    const mixed = mixLora(first, second, { coefficient: 0.3, mode: 'factor' });
    for (const key of Object.keys(stateTensors(mixed)))
      expectClose(
        await values(mixed, key),
        add(mul(await values(first, key), 0.3), mul(await values(second, key), 0.7)),
        1e-6,
      );
    const alone = await deltas(mixLora(first, undefined, { coefficient: 0.3, mode: 'factor' }));
    (await deltas(first)).forEach((delta, i) => expectClose(alone[i]!, mul(delta, 0.09), 1e-5));
    const notDelta = await deltas(mixed);
    const [x, y] = [await deltas(first), await deltas(second)];
    expect(() => expectClose(notDelta[0]!, add(mul(x[0]!, 0.3), mul(y[0]!, 0.7)), 0.05)).toThrow();
  });

  it("matches kohya's names with paths that have dots", async () => {
    const mixed = mixLora(adapter(['one_to_q'], 1), adapter(['one.to_q'], 1), { coefficient: 0.5 });
    expect(Object.keys(stateTensors(mixed))).toEqual(['one.to_q.lora_A.weight', 'one.to_q.lora_B.weight']);
    expectClose((await deltas(mixed))[0]!, (await deltas(adapter(['one.to_q'], 1)))[0]!, 1e-5);
  });

  it('leaks nothing, and refuses adapters of other shapes, ranks or scales', () =>
    expectNoLeaks(async () => {
      const first = adapter(names, 1);
      expect(() => mixLora(first, adapter(names, 2, { r: 3 }), { mode: 'factor' })).toThrow(
        "one.to_q has ranks 2 and 3, scales 1.5 and 1, two.to_q has ranks 2 and 3, scales 1.5 and 1. Try mode 'delta'.",
      );
      const [kernels, dora] = [adapter(names, 2, { kernel: [3, 3] }), { ...first.modules['one.to_q']!, kind: 'dora' }];
      expect(() => mixLora(first, kernels)).toThrow('one.to_q has [6,4] and [6,4,3,3]');
      expect(() => mixLora(first, { modules: { 'one.to_q': dora as never } })).toThrow(
        'one.to_q is DoRA, whose change',
      );
      expect(() => mixLora(first, adapter(names, 2, { size: 5 }))).toThrow('one.to_q has [6,4] and [6,5]');
      expect(() => mixLora(first, first, { coefficient: NaN })).toThrow('coefficient got NaN');
      expect(() => mixLora(first, first, { mode: 'sum' as never })).toThrow("mode got 'sum', expected delta or factor");
      return deltas(mixLora(first, first));
    }));
});
