import { add, memory, mul, tensor1d, variable, type Tensor } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '../backend.js';
import { packedLayout } from '../frozen.js';
import type { StoredTensor } from '../params.js';
import { TfjsEngine } from './tfjs.js';

beforeAll(() => useBackend('wasm'));

function stored(values: number[]): StoredTensor & { reads: number } {
  const tensor = {
    shape: [values.length],
    dtype: 'F32',
    reads: 0,
    read: async () => (tensor.reads++, Float32Array.from(values)),
  };
  return tensor;
}
type Weights = { w: Tensor; b: Tensor };

describe('TfjsEngine', () => {
  it('reads stored weights once, and again after dispose', async () => {
    const engine = new TfjsEngine();
    const w = stored([1, 2]);
    const double = engine.compile((p, x) => mul((p as Weights).w, x!));
    const x = tensor1d([10, 10]);
    for (const reads of [1, 1]) {
      const [y] = await double({ w }, x);
      expect([...y!.dataSync()]).toEqual([10, 20]);
      expect(w.reads).toBe(reads);
    }
    engine.dispose();
    const [y] = await double({ w }, x);
    expect([...y!.dataSync()]).toEqual([10, 20]);
    expect(w.reads).toBe(2);
  });

  it('uses the current value of a variable in each call', async () => {
    const b = variable(tensor1d([1]));
    const run = new TfjsEngine().compile((p, x) => add((p as Weights).b, x!));
    const params = { w: stored([0]), b };
    const x = tensor1d([1]);
    expect([...(await run(params, x))[0]!.dataSync()]).toEqual([2]);
    b.assign(tensor1d([5]));
    expect([...(await run(params, x))[0]!.dataSync()]).toEqual([6]);
  });

  it('lets timers fire between calls', async () => {
    const run = new TfjsEngine().compile((_, x) => mul(x!, 2));
    let fired = false;
    setTimeout(() => (fired = true), 0);
    await run({}, tensor1d([1]));
    expect(fired).toBe(true);
  });

  it('differentiates with respect to inputs and trainable leaves, not stored ones', async () => {
    const run = new TfjsEngine().compileVjp((p, x) => mul(mul((p as Weights).w, (p as Weights).b), x!), { wrt: [0] });
    const result = await run({ w: stored([2]), b: variable(tensor1d([3])) }, [tensor1d([5])]);
    expect([...result.inputs[0]!.dataSync()]).toEqual([6]);
    expect([...result.params.b!.dataSync()]).toEqual([10]);
    expect(Object.keys(result.params)).toEqual(['b']);
  });

  it('frees on dispose the weights it read and the layouts derived from them', async () => {
    const x = tensor1d([1]);
    const before = memory().numTensors;
    const engine = new TfjsEngine();
    const run = engine.compile((p, y) =>
      mul(
        packedLayout((p as Weights).w, 'negated', (w) => mul(w, -1)),
        y!,
      ),
    );
    const params = { w: stored([2]) };
    for (let i = 0; i < 3; i++) {
      const [y] = await run(params, x);
      expect([...y!.dataSync()]).toEqual([-2]);
      y!.dispose();
      expect(memory().numTensors).toBe(before + 2);
    }
    engine.dispose();
    expect(memory().numTensors).toBe(before);
  });
});
