import { random } from '@alignprop/autograd-ext';
import { describe, expect, it } from 'vitest';
import { initialChange } from './initial-change.js';
import { leadingTriplets } from './leading-triplets.js';

const [OUT, IN] = [5, 7];
const weight = () => Float32Array.from(random(1).randn(OUT * IN));

describe('initialChange', () => {
  it.each([true, false, null, undefined, 'gaussian', 'eva', 'orthogonal'])(
    'leaves the weight as it is for %s',
    (name) => {
      expect(initialChange(name, { r: 2, scale: 1 })).toBeUndefined();
    },
  );

  it('subtracts the projection on the first r columns for olora, which are then zero', async () => {
    const residual = weight();
    await initialChange('olora', { r: 3, scale: 1 })!.apply(residual, [OUT, IN], 1);
    const w = weight();
    for (let o = 0; o < OUT; o++) for (let i = 0; i < 3; i++) expect(residual[o * IN + i]).toBeCloseTo(0, 5);
    // The rest of every column is orthogonal to the first columns.
    for (let i = 3; i < IN; i++)
      for (let j = 0; j < 3; j++) {
        let product = 0;
        for (let o = 0; o < OUT; o++) product += residual[o * IN + i]! * w[o * IN + j]!;
        expect(product).toBeCloseTo(0, 5);
      }
  });

  it('multiplies the projection by the scale of the adapter', async () => {
    const [one, half, w] = [weight(), weight(), weight()];
    await initialChange('olora', { r: 3, scale: 1 })!.apply(one, [OUT, IN], 1);
    await initialChange('olora', { r: 3, scale: 0.5 })!.apply(half, [OUT, IN], 1);
    half.forEach((value, i) => expect(value).toBeCloseTo((w[i]! + one[i]!) / 2, 5));
  });

  it('subtracts the r largest singular values for pissa, whatever the scale', async () => {
    const residual = weight();
    await initialChange('pissa', { r: 2, scale: 7 })!.apply(residual, [OUT, IN], 1);
    const valuesOf = (matrix: Float32Array) =>
      leadingTriplets(matrix, { out: OUT, inputs: IN, count: OUT }).map(({ value }) => value);
    const [left, all] = [valuesOf(residual).slice(0, OUT - 2), valuesOf(weight())];
    left.forEach((value, i) => expect(value).toBeCloseTo(all[i + 2]!, 5));
    expect(valuesOf(residual)[OUT - 2] ?? 0).toBeLessThan(1e-5);
  });

  it.each(['olora', 'pissa'])('does not fit convolutions: %s', (name) => {
    expect(initialChange(name, { r: 2, scale: 1 })!.misfit([OUT, IN, 1, 1])).toContain('expected a matrix');
    expect(initialChange(name, { r: 2, scale: 1 })!.misfit([OUT, IN])).toBeUndefined();
  });
});
