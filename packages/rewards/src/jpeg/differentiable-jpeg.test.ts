import { useBackend, vjp } from '@alignprop/autograd-ext';
import { abs, concat, max, slice, sub, tile, zeros, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { testBackends } from '../../../../fixtures/engines.js';
import { expectClose, fixtureJson, fixtureTensors, toNCHW, toNHWC } from '../../../../fixtures/index.js';
import { jpegDistortion, jpegRate, jpegRoundTrip } from './differentiable-jpeg.js';
import { quantizationTables } from './quantization-tables.js';
import type { Rounding } from './rounding.js';

const { differentiable: cases } = fixtureJson<{ differentiable: { quality: number; rounding: Rounding }[] }>(
  'jpeg/case.json',
);

describe.each(testBackends)('differentiable JPEG on %s', (backend) => {
  let io: Record<string, Tensor>;
  beforeAll(async () => {
    await useBackend(backend);
    io = await fixtureTensors('jpeg/io.safetensors');
  });

  it.each(cases.map((options, i) => ({ i, ...options })))(
    'case $i equals PyTorch: quality $quality, $rounding',
    ({ i, quality, rounding }) => {
      const golden = (name: string) => io[`diff${i}.${name}`]!;
      const x = toNHWC(io['diff.x']!);
      const run = (fn: (images: Tensor4D) => Tensor, dy?: Tensor) =>
        vjp((_, images) => fn(images as Tensor4D), {}, [x], dy);
      const y = run((images) => jpegRoundTrip(images, { quality, rounding }), toNHWC(io['diff.R']!));
      expect(max(abs(sub(toNCHW(y.value), golden('y')))).dataSync()[0]).toBeLessThanOrEqual(1e-4); // absolute
      expectClose(toNCHW(y.inputs[0]!), golden('grad'), 1e-3, 'grad');
      const rate = run((images) => jpegRate(images, { quality, rounding }));
      expectClose(rate.value, golden('rate'), 1e-4, 'rate');
      expectClose(toNCHW(rate.inputs[0]!), golden('grad_rate'), 1e-3, 'grad_rate');
      const mse = run((images) => jpegDistortion(images, { quality, rounding }));
      expectClose(mse.value, golden('mse'), 1e-4, 'mse');
      expectClose(toNCHW(mse.inputs[0]!), golden('grad_mse'), 1e-3, 'grad_mse');
    },
  );

  it.each([10, 50, 80, 95])('has the quantization tables of libjpeg at quality %i', (quality) => {
    const { luma, chroma } = quantizationTables(quality);
    expect([...luma]).toEqual([...io[`qtable_luma.${quality}`]!.dataSync()]);
    expect([...chroma]).toEqual([...io[`qtable_chroma.${quality}`]!.dataSync()]);
  });

  it('repeats the edges of sizes that are not multiples of 16', () => {
    const image = slice(toNHWC(io['diff.x']!), [0, 0, 0, 0], [1, 13, 18, 3]);
    const columns = concat([image, tile(slice(image, [0, 0, 17, 0], [1, 13, 1, 3]), [1, 1, 14, 1])], 2);
    const filled = concat([columns, tile(slice(columns, [0, 12, 0, 0], [1, 1, 32, 3]), [1, 3, 1, 1])], 1) as Tensor4D;
    const y = jpegRoundTrip(image as Tensor4D, { quality: 50 });
    expect(y.shape).toEqual([1, 13, 18, 3]);
    expectClose(y, slice(jpegRoundTrip(filled, { quality: 50 }), [0, 0, 0, 0], [1, 13, 18, 3]), 1e-6);
  });
});

describe('differentiable JPEG', () => {
  beforeAll(() => useBackend('wasm'));
  it('rejects a quality, a rounding and images that are out of range', () => {
    const images = zeros([1, 16, 16, 3]) as Tensor4D;
    expect(() => jpegRate(images, { quality: 0 })).toThrow('quality got 0, expected an integer from 1 to 100');
    expect(() => jpegRate(images, { quality: 95.5 })).toThrow('quality got 95.5');
    expect(() => jpegRate(images, { rounding: 'soft' as never })).toThrow(
      "rounding got 'soft', expected ste, cubic, none",
    );
    expect(() => jpegRate(zeros([16, 16, 3]) as Tensor as Tensor4D)).toThrow(
      'images got shape [16,16,3], expected [B, H, W, 3]',
    );
    expect(() => jpegRate(zeros([1, 3, 16, 16]) as Tensor4D)).toThrow('images got shape [1,3,16,16]');
  });
});
