import { avgPool, greater, image, logicalAnd, less, maxPool, mirrorPad, mul, neg, prod, randomNormal, tensor, where, type Tensor } from '@tensorflow/tfjs-core';
import { beforeAll, describe, it } from 'vitest';
import { useBackend } from '../backend.js';
import { checkGradient, expectNoLeaks } from '../testing/index.js';

type Op = (x: any) => Tensor;

const cases: [name: string, shape: number[], op: Op][] = [
  ['maxPool', [2, 6, 4, 3], (x) => maxPool(x, 2, 2, 'valid')],
  ['maxPool of negative values', [2, 5, 4, 2], (x) => maxPool(neg(mul(x, x)), 3, 2, 'same')],
  ['maxPool, overlapping', [1, 5, 5, 1], (x) => maxPool(x, 3, 1, 1)],
  ['avgPool', [2, 4, 6, 3], (x) => avgPool(x, 2, 2, 'valid')],
  ['avgPool with a border', [2, 5, 4, 2], (x) => avgPool(x, 3, 2, 'same')],
  ['avgPool with padding', [1, 4, 5, 2], (x) => avgPool(x, 3, 1, 1)],
  ['resizeNearestNeighbor', [2, 3, 4, 2], (x) => image.resizeNearestNeighbor(x, [6, 8])],
  ['resizeNearestNeighbor to fewer', [3, 5, 4, 1], (x) => image.resizeNearestNeighbor(x, [3, 7])],
  ['resizeNearestNeighbor, aligned corners', [2, 3, 4, 2], (x) => image.resizeNearestNeighbor(x, [5, 1], true)],
  ['resizeNearestNeighbor, half pixels', [2, 3, 4, 2], (x) => image.resizeNearestNeighbor(x, [5, 3], false, true)],
  ['resizeBilinear', [2, 3, 4, 2], (x) => image.resizeBilinear(x, [5, 7])],
  ['resizeBilinear, aligned corners', [2, 3, 4, 2], (x) => image.resizeBilinear(x, [5, 2], true)],
  ['resizeBilinear, half pixels', [2, 3, 4, 2], (x) => image.resizeBilinear(x, [5, 7], false, true)],
  ['resizeBilinear, half pixels, to fewer', [2, 7, 5, 1], (x) => image.resizeBilinear(x, [3, 2], false, true)],
  ['mirrorPad, reflected', [2, 4, 5], (x) => mirrorPad(x, [[1, 0], [2, 3], [0, 4]], 'reflect')],
  ['mirrorPad, symmetric', [1, 4, 5], (x) => mirrorPad(x, [[1, 1], [2, 4], [0, 1]], 'symmetric')],
  ['prod of all', [2, 3], (x) => prod(x)],
  ['prod along the middle axis', [2, 3, 4], (x) => prod(x, 1)],
  ['prod along two axes, kept', [2, 3, 4], (x) => prod(x, [0, -1], true)],
  ['where under a comparison', [3, 4], (x) => where(greater(x, 0.3), mul(x, x), neg(x))],
  ['where under several', [3, 4], (x) => where(logicalAnd(greater(x, -0.8), less(x, 0.1)), mul(x, 3), x)],
];

describe.each(['wasm', 'cpu'] as const)('gradients of tfjs on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it.each(cases)('%s', async (_, shape, op) => {
    const x = randomNormal(shape, 0, 1, 'float32', 3);
    await expectNoLeaks(() => checkGradient(op, [x], { step: 2e-3, tolerance: 1e-2 }));
    x.dispose();
  });

  it('prod with zeros', () => {
    const x = tensor([[2, 0, 3], [0, 0, 5], [1, 2, 4]]);
    checkGradient((y) => prod(y, 1), [x]);
    x.dispose();
  });
});
