import { tensor, tensor2d, variable, type Tensor } from '@tensorflow/tfjs-core';
import { afterAll, describe, expect, it } from 'vitest';
import { useBackend } from '../../../backend.js';
import { gelu } from '../../../ops/gelu.js';
import { linear, type Matrix } from '../../../ops/linear.js';
import type { Params, StoredTensor } from '../../../params.js';
import { expectNoLeaks } from '../../../testing/index.js';
import { randn, random } from '../../../random.js';
import type { ModelFunction } from '../../../vjp.js';
import { TfjsEngine } from '../../tfjs.js';
import { OnnxRuntimeEngine } from '../engine.js';
import { webRuntime, type OnnxRuntimeWeb } from './web-runtime.js';

type Package = OnnxRuntimeWeb & { readonly env: { readonly wasm: { numThreads?: number } } };

const ort = (await import('onnxruntime-web' as string)) as Package;
ort.env.wasm.numThreads = 1;
await useBackend('wasm');
const engine = new OnnxRuntimeEngine({ runtime: webRuntime(ort) });
afterAll(() => engine.dispose());

// Products with a shorter inner dimension are recomputed instead of saved.
const width = 100;
const stored: StoredTensor = {
  shape: [3, width],
  dtype: 'F32',
  read: () => Promise.resolve(random(1).randn(3 * width)),
};
const inputs = [2, 3].map((seed) => randn(random(seed), [2, width]));
const dy = tensor2d([1, -1], [2, 1]);
/** Three layers: a frozen one in a file, a frozen one in memory, a trainable one. */
const mlp: ModelFunction = (params, x) => {
  const { first, second, third } = params as Readonly<Record<string, Matrix>>;
  return linear(gelu(linear(gelu(linear(x!, first!)), second!)), third!);
};
const tree = (): Params => ({
  first: stored,
  second: tensor2d([1, 2, 3, -1, 0.5, 0.25, 2, 1, -2], [3, 3]),
  third: variable(tensor2d([1, 2, 3], [1, 3])),
});
const values = (tensors: readonly Tensor[]) => tensors.map((value) => [value.shape, [...value.dataSync()]]);

describe('webRuntime', () => {
  it('computes a function and its gradient as tfjs does, also from the activations of a saved run', async () => {
    const [params, x] = [tree(), inputs[0]!];
    const expected = await new TfjsEngine().compileVjp(mlp, { wrt: [0] })(params, [x], dy);
    const compiled = engine.compileVjp(mlp, { wrt: [0] });
    const saved = (await compiled.forward!(params, [x]))!;
    for (const actual of [
      await compiled(params, [x], dy),
      { value: saved.outputs[0], ...(await saved.backward(dy)) },
      { value: saved.outputs[0], ...(await saved.backward(dy)) },
    ]) {
      const [found, wanted] = [actual, expected].map(({ value, inputs, params: weights }) =>
        values([value, ...inputs, ...Object.values(weights)]),
      );
      expect(JSON.stringify(rounded(found!))).toBe(JSON.stringify(rounded(wanted!)));
    }
    saved.release();
  });

  it('keeps the activations of several runs apart, and reuses the memory of released ones', async () => {
    const params = tree();
    const compiled = engine.compileVjp(mlp);
    const gradient = async (x: Tensor) => values(Object.values((await compiled(params, [x], dy)).params));
    const expected = [await gradient(inputs[0]!), await gradient(inputs[1]!)];
    const runs = [(await compiled.forward!(params, [inputs[0]!]))!, (await compiled.forward!(params, [inputs[1]!]))!];
    const actual = await Promise.all(runs.map(async (run) => values(Object.values((await run.backward(dy)).params))));
    runs.forEach((run) => run.release());
    expect(actual).toEqual(expected);
    expect(await gradient(inputs[0]!)).toEqual(expected[0]);
  });

  it('takes integers and booleans, and leaks no tensor', async () => {
    const [counts, flags] = [tensor([1, 2], [2], 'int32'), tensor([1, 0], [2], 'bool')];
    const double = engine.compile((_, count, mask) => [count!.clone(), mask!.clone()]);
    await expectNoLeaks(async () => {
      const outputs = await double({}, counts, flags);
      expect(outputs.map((output) => [output.dtype, ...output.dataSync()])).toEqual([
        ['int32', 1, 2],
        ['bool', 1, 0],
      ]);
      outputs.forEach((output) => output.dispose());
    });
  });
});

const rounded = (entries: ReturnType<typeof values>) =>
  entries.map(([shape, numbers]) => [shape, numbers!.map((value) => value.toPrecision(4))]);
