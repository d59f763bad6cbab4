import { useBackend, vjp } from '@alignprop/autograd-ext';
import { add, clipByValue, fill, mul, neg, ones, randomUniform, zeros, type Tensor4D } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { engineNames, startEngine, testBackends } from '../../../../fixtures/engines.js';
import { expectClose } from '../../../../fixtures/index.js';
import { scaled } from '../combinators/scaled.js';
import { testReward } from '../testing/test-reward.js';
import { jpegRate } from './differentiable-jpeg.js';
import { jpegCompressibility, jpegIncompressibility, jpegKilobytes } from './jpeg-kilobytes.js';
import { jpegSize } from './jpeg-size.js';

describe.each(testBackends)('JPEG rewards on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it('jpegRate without rounding keeps the contract of rewards', () =>
    testReward(
      scaled((images) => jpegRate(images, { quality: 20, rounding: 'none' }), 1e-3),
      { step: 1e-3, tolerance: 2e-2, entries: 12 },
    ));

  it('jpegKilobytes of a blank image is the size of its file, without a gradient', () => {
    const { value, inputs } = vjp((_, images) => jpegKilobytes(images as Tensor4D), {}, [
      fill([2, 64, 48, 3], 0.6) as Tensor4D,
    ]);
    const size = jpegSize({ data: new Uint8Array(64 * 48 * 3).fill(153), height: 64, width: 48 });
    for (const kilobytes of value.dataSync()) expect(Math.abs(kilobytes * 1000 - size)).toBeLessThanOrEqual(4);
    expect(Math.max(...inputs[0]!.dataSync().map(Math.abs))).toBeLessThan(1e-5);
  });

  it('gradient steps on jpegCompressibility make files smaller', () => {
    let images = randomUniform([1, 32, 32, 3], 0.2, 0.8, 'float32', 3) as Tensor4D;
    const bytes = () =>
      -641 + jpegSize({ data: Uint8Array.from(images.dataSync(), (v) => Math.round(v * 255)), height: 32, width: 32 });
    const before = bytes(); // beyond those of a blank image
    for (let i = 0; i < 40; i++) {
      const { inputs } = vjp((_, x) => jpegCompressibility()(x as Tensor4D, [''], [{}]), {}, [images]);
      images = clipByValue(add(images, mul(inputs[0]!, 2)), 0, 1);
    }
    expect(bytes()).toBeLessThan(0.6 * before);
  });

  it('jpegCompressibility is minus jpegIncompressibility', () => {
    const images = randomUniform([2, 16, 16, 3], 0, 1, 'float32', 5) as Tensor4D;
    const [a, b] = [jpegCompressibility(), jpegIncompressibility()].map((reward) => reward(images, ['', ''], [{}, {}]));
    expect(a!.dataSync()).toEqual(neg(b!).dataSync());
  });

  it('reject a quality out of range and images with channels first', () => {
    expect(() => jpegCompressibility({ quality: 0 })).toThrow(
      'jpeg: quality got 0, expected an integer from 1 to 100.',
    );
    expect(() => jpegIncompressibility({ quality: NaN })).toThrow('quality got NaN');
    expect(() => jpegCompressibility()(zeros([1, 3, 16, 16]), [''], [{}])).toThrow(
      'jpegKilobytes: images got shape [1,3,16,16], expected [B, H, W, 3]',
    );
  });
});

describe.each(engineNames)('JPEG rewards on the engine %s', (name) => {
  it.each([
    [16, 16],
    [15, 33],
  ])('have the same value and gradient for images of %i×%i as when called directly', async (height, width) => {
    const engine = await startEngine(name);
    const { model } = jpegCompressibility({ quality: 80 });
    const images = randomUniform([2, height, width, 3], 0, 1, 'float32', 4) as Tensor4D;
    const { value, inputs } = await engine.compileVjp(model.score, { wrt: [0] })(model.params, [images], ones([2]));
    const called = vjp((_, x) => jpegCompressibility({ quality: 80 })(x as Tensor4D, ['', ''], [{}, {}]), {}, [images]);
    expectClose(value, called.value, 1e-6, 'scores');
    expectClose(inputs[0]!, called.inputs[0]!, 1e-4, 'gradient');
    engine.dispose();
  });
});
