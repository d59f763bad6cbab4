import { resize, useBackend } from '@alignprop/autograd-ext';
import { checkGradient, expectNoLeaks } from '@alignprop/autograd-ext/testing';
import {
  add,
  fill,
  mul,
  randomUniform,
  reshape,
  slice,
  tensor1d,
  transpose,
  tensor4d,
  type Tensor,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { testBackends } from '../../../../fixtures/engines.js';
import { expectClose, fixtureJson, fixtureTensors, toNCHW, toNHWC } from '../../../../fixtures/index.js';
import { clipPixels, clipPixelsOfBytes } from './clip-pixels.js';

interface GoldenCase {
  image_hw: [number, number];
  shortest_edge: number;
  crop: number;
}
const { cases, image_mean, image_std } = fixtureJson<{
  cases: GoldenCase[];
  image_mean: number[];
  image_std: number[];
}>('clip-image-processor/case.json');
const denormalise = (pixels: Tensor) => add(mul(pixels, tensor1d(image_std)), tensor1d(image_mean)) as Tensor4D;

describe.each(testBackends)('clipPixels on %s', (backend) => {
  let golden: Record<string, Tensor>;
  beforeAll(async () => {
    await useBackend(backend);
    golden = await fixtureTensors('clip-image-processor/io.safetensors');
  });

  it.each(cases.map((golden, i) => [i, golden] as const))(
    'clipPixelsOfBytes equals CLIPImageProcessor: case %i',
    (i, { image_hw: [height, width], shortest_edge, crop }) => {
      const data = Uint8Array.from(golden[`${i}.image_uint8_hwc`]!.dataSync());
      const pixels = clipPixelsOfBytes({ data, height, width }, { size: shortest_edge, cropSize: crop });
      expectClose(toNCHW(pixels), golden[`${i}.pixel_values`]!, 1e-6, 'pixel_values');
    },
  );

  it('equals torchvision’s transforms of float tensors', async () => {
    const { '0.images': images, '0.resized_crop': expected } = await fixtureTensors('reward-aesthetic/io.safetensors');
    const pixels = clipPixels(toNHWC(images!), { size: 224, mode: 'bilinear' });
    const corner = slice(toNCHW(denormalise(pixels)), [0, 0, 0, 0], [1, 3, 48, 48]);
    expectClose(corner, reshape(expected!, corner.shape), 1e-5, 'resized');
  });

  it('crops the centre of an image that is not square', () => {
    const images = randomUniform([2, 20, 31, 3], 0, 1, 'float32', 1) as Tensor4D;
    const resized = resize(images, [16, 24], { mode: 'bicubic' });
    expectClose(
      denormalise(clipPixels(images, { size: 16 })),
      slice(resized, [0, 0, 4, 0], [2, 16, 16, 3]),
      1e-5,
      'wide',
    );
    const turned = transpose(images, [0, 2, 1, 3]) as Tensor4D;
    expectClose(
      transpose(clipPixels(turned, { size: 16 }), [0, 2, 1, 3]),
      clipPixels(images, { size: 16 }),
      1e-5,
      'tall',
    );
  });

  it('keeps the colour of a single pixel', () => {
    const colour = tensor4d([0.2, 0.5, 1], [1, 1, 1, 3]);
    expectClose(denormalise(clipPixels(colour, { size: 8 })), mul(fill([1, 8, 8, 3], 1), colour), 1e-6);
  });

  it('clamps values, and propagates NaN', () => {
    const values = (x: number) => [...clipPixels(fill([1, 2, 2, 3], x), { size: 2 }).dataSync()];
    expect(values(1.5)).toEqual(values(1));
    expect(values(-0.5)).toEqual(values(0));
    expect(values(NaN).every(Number.isNaN)).toBe(true);
  });

  it('has the gradient of finite differences and leaks no tensor', async () => {
    const images = randomUniform([2, 7, 9, 3], 0.1, 0.9, 'float32', 1) as Tensor4D;
    for (const mode of ['bilinear', 'bicubic'] as const)
      checkGradient((x) => clipPixels(x as Tensor4D, { size: 5, mode }), [images]);
    await expectNoLeaks(() => clipPixelsOfBytes({ data: new Uint8Array(2 * 3 * 3), height: 2, width: 3 }, { size: 4 }));
  });

  it('rejects images with channels first', () => {
    expect(() => clipPixels(fill([1, 3, 8, 8], 0), { size: 4 })).toThrow(
      'clipPixels: images got shape [1,3,8,8], expected [B, H, W, 3]',
    );
  });
});
