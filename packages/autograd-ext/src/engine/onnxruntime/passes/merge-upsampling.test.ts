import { tensor, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '../../../backend.js';
import { conv2d } from '../../../ops/conv2d.js';
import { upsampleNearest } from '../../../ops/resize.js';
import type { Params } from '../../../params.js';
import { random } from '../../../random.js';
import { vjp, type ModelFunction } from '../../../vjp.js';
import { OnnxRuntimeEngine } from '../engine.js';
import { nodesOf } from '../graph/graph.js';

const normal = (shape: number[], seed: number) =>
  tensor(
    random(seed)
      .randn(
        Math.max(
          16,
          shape.reduce((a, b) => a * b),
        ),
      )
      .slice(
        0,
        shape.reduce((a, b) => a * b),
      ),
    shape,
  );

/** The upsampling block of UNets and decoders. */
const upsample: ModelFunction = (params, x) => {
  const { weight, bias } = params as { weight: Tensor; bias?: Tensor };
  const [, height, width] = x!.shape as [number, number, number];
  return conv2d(upsampleNearest(x as Tensor4D, [2 * height, 2 * width]), weight, bias, {
    padding: weight.shape[2] === 3 ? 1 : 0,
  });
};

describe('mergeUpsampling', () => {
  let ops: string[] = [];
  const engine = new OnnxRuntimeEngine({
    threads: 1,
    onCompile: ({ graph }) => graph && ops.push(...nodesOf(graph.outputs).map(({ op }) => op)),
  });
  beforeAll(() => useBackend('wasm'));
  afterEach(() => {
    engine.dispose();
    ops = [];
  });

  it.each<[string, number[], number[], boolean, boolean]>([
    ['several channels', [2, 5, 4, 3], [7, 3, 3, 3], true, true],
    ['no bias', [1, 3, 6, 2], [2, 2, 3, 3], false, true],
    ['an image of one pixel', [1, 1, 1, 4], [3, 4, 3, 3], true, true],
    ['an image of one row', [3, 1, 7, 1], [1, 1, 3, 3], true, true],
    ['a 1×1 convolution, which stays as it is', [1, 4, 4, 2], [3, 2, 1, 1], true, false],
  ])('preserves values and gradients: %s', async (_, inputShape, weightShape, withBias, isMerged) => {
    const params: Params = { weight: normal(weightShape, 1), ...(withBias && { bias: normal([weightShape[0]!], 2) }) };
    const x = normal(inputShape, 3);
    const dy = normal([inputShape[0]!, 2 * inputShape[1]!, 2 * inputShape[2]!, weightShape[0]!], 4);
    const expected = vjp(upsample, params, [x], dy);
    const actual = await engine.compileVjp(upsample, { wrt: [0] })(params, [x], dy);
    for (const [is, be] of [
      [actual.value, expected.value],
      [actual.inputs[0]!, expected.inputs[0]!],
    ] as const) {
      expect(is.shape).toEqual(be.shape);
      const [a, e] = [is.dataSync(), be.dataSync()];
      const largest = Math.max(...e.map(Math.abs));
      a.forEach((value, i) => expect(Math.abs(value - e[i]!)).toBeLessThan(1e-6 * largest));
    }
    expect(ops.includes('DepthToSpace')).toBe(isMerged);
    expect(ops.includes('Resize')).toBe(!isMerged);
    expect(ops.includes('AveragePool')).toBe(!isMerged);
  });

  it('merges every upsampling of a chain', async () => {
    const params = [normal([3, 2, 3, 3], 1), normal([2, 3, 3, 3], 2)].map((weight) => ({ weight }));
    const chain: ModelFunction = (layers, x) =>
      (layers as readonly Params[]).reduce<Tensor>((image, layer) => upsample(layer, image) as Tensor, x!);
    const [x, dy] = [normal([1, 4, 5, 2], 3), normal([1, 16, 20, 2], 4)];
    const [actual, expected] = [
      await engine.compileVjp(chain, { wrt: [0] })(params, [x], dy),
      vjp(chain, params, [x], dy),
    ];
    for (const [is, be] of [
      [actual.value, expected.value],
      [actual.inputs[0]!, expected.inputs[0]!],
    ] as const) {
      const largest = Math.max(...be.dataSync().map(Math.abs));
      is.dataSync().forEach((value, i) => expect(Math.abs(value - be.dataSync()[i]!)).toBeLessThan(2e-6 * largest));
    }
    expect(ops.filter((op) => op === 'Resize' || op === 'AveragePool')).toEqual([]);
  });

  it('saves no sums of weights for backward, since each session computes them', async () => {
    const forward = await engine.compileVjp(upsample, { wrt: [0] }).forward!({ weight: normal([3, 2, 3, 3], 1) }, [
      normal([1, 4, 4, 2], 2),
    ]);
    expect(forward!.bytes).toBe(0);
    forward!.release();
  });

  it('leaves convolutions with trainable weights as they are', async () => {
    const fn: ModelFunction = (_, x, weight) => upsample({ weight: weight! }, x!);
    await engine.compile(fn)({}, normal([1, 4, 4, 2], 1), normal([3, 2, 3, 3], 2));
    expect(ops).toContain('Resize');
  });
});
