import { zeros } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { fixturePath } from '../../../../fixtures/index.js';
import { useBackend } from '../backend.js';
import { elementCount, flatten, type StoredTensor } from '../params.js';
import { directory } from './files/directory.js';
import { initParams, loadParams, type ParamsSpec } from './load-params.js';
import { openSafetensors } from './safetensors/open-safetensors.js';

const stored = (...shape: number[]): StoredTensor => ({
  shape,
  dtype: 'F32',
  read: async () => new Float32Array(elementCount(shape)),
});
const spec: ParamsSpec = {
  conv: { weight: { shape: [2, 3] }, bias: { shape: [2] } },
  blocks: [{ scale: { shape: [] } }, { shape: { shape: [1] } }],
};
const options = { owner: 'Model', location: 'here' };

describe('loadParams', () => {
  it('builds the tree that the spec describes, whatever the order of the weights', () => {
    const weights = new Map([
      ['blocks.1.shape', stored(1)],
      ['conv.bias', stored(2)],
      ['blocks.0.scale', stored()],
      ['conv.weight', stored(2, 3)],
    ]);
    const params = loadParams(spec, weights, options) as { blocks: unknown };
    expect(Array.isArray(params.blocks)).toBe(true);
    expect(Object.keys(flatten(params as never))).toEqual([
      'conv.weight',
      'conv.bias',
      'blocks.0.scale',
      'blocks.1.shape',
    ]);
  });

  it('lists everything that does not fit in one error', () => {
    const weights = new Map([
      ['conv.weight', stored(3, 2)],
      ['conv.bias', stored(2, 1)],
      ['extra.a', stored(1)],
      ['extra.b', stored(1)],
      ['position_ids', stored(1)],
      ['blocks.1.shape', { ...stored(1), dtype: 'I8' }],
    ]);
    expect(() => loadParams(spec, weights, { ...options, ignored: [/position_ids$/] })).toThrow(
      [
        "Model: the weights in 'here' do not fit its config.",
        '1 missing: blocks.0.scale.',
        '2 unexpected: extra.a, extra.b.',
        '2 of another shape: conv.weight (got [3, 2], expected [2, 3]), conv.bias (got [2, 1], expected [2]).',
        '1 of integers, as quantised weights are, expected floating-point numbers: blocks.1.shape (I8).',
        'Check that the config and the weights belong to the same model.',
      ].join('\n'),
    );
  });

  it('throws when a weight is read or checked that is not finite', async () => {
    const { tensors } = await openSafetensors(
      directory(fixturePath('files/broken-safetensors')),
      'nan-weights.safetensors',
    );
    const { a } = loadParams({ a: { shape: [4] } }, tensors, options) as { a: StoredTensor };
    expect(a.location).toEqual(tensors.get('a')!.location);
    const message =
      /^Model: weight 'a' in '.*nan-weights\.safetensors' got NaN at position 1, expected finite numbers\./;
    await expect(a.read()).rejects.toThrow(message);
    await expect(a.check!()).rejects.toThrow(message);
    const infinite = { ...stored(1), read: async () => Float32Array.of(-Infinity) };
    const { b } = loadParams({ b: { shape: [1] } }, new Map([['b', infinite]]), options) as { b: StoredTensor };
    await expect(b.read()).rejects.toThrow("weight 'b' in 'here' got -Infinity at position 0");
  });
});

describe('initParams', () => {
  beforeAll(() => useBackend('cpu'));

  it('makes a leaf for each shape', () => {
    const params = initParams(spec, (_, shape) => zeros([...shape]));
    expect(Object.entries(flatten(params)).map(([path, leaf]) => [path, leaf.shape])).toEqual([
      ['conv.weight', [2, 3]],
      ['conv.bias', [2]],
      ['blocks.0.scale', []],
      ['blocks.1.shape', [1]],
    ]);
  });
});
