import { createHash } from 'node:crypto';
import { mul, sum, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { testBackends } from '../../../../fixtures/engines.js';
import { expectClose, fixtureJson, fixtureTensors, toNCHW, toNHWC } from '../../../../fixtures/index.js';
import { useBackend } from '../backend.js';
import { vjp } from '../vjp.js';
import { resizeUint8 } from './resize-uint8.js';
import { resize, shorterSide, upsampleNearest, type Size } from './resize.js';

interface Case {
  from: Size;
  to: Size;
  size?: number;
  mode: 'nearest' | 'bilinear' | 'bicubic';
  antialias?: boolean;
}
const { interpolate, torchvision_resize: torchvision } = fixtureJson<{
  interpolate: Case[];
  torchvision_resize: Case[];
}>('resize/case.json');
const pil = fixtureJson<{ pil: Case[] }>('resize/case.json').pil;
const cases = [
  ...interpolate.map((c, i) => [`${i}`, c] as const),
  ...torchvision.map((c, i) => [`tv${i}`, c] as const),
];

describe.each(testBackends)('resize on %s', (backend) => {
  let io: Record<string, Tensor>;
  beforeAll(async () => {
    await useBackend(backend);
    io = await fixtureTensors('resize/io.safetensors');
  });

  it.each(cases)('agrees with torch on case %s: %o', (name, { from, to, size, mode, antialias = true }) => {
    const target = size ? shorterSide(from, size) : to;
    expect(target).toEqual(to);
    const fn = (x: Tensor4D) =>
      mode === 'nearest' ? upsampleNearest(x, target) : resize(x, target, { mode, antialias });
    const { value, inputs } = vjp((_, x) => sum(mul(fn(toNHWC(x!)), toNHWC(io[`${name}.R`]!))), {}, [io[`${name}.x`]!]);
    value.dispose();
    const y = toNCHW(fn(toNHWC(io[`${name}.x`]!)));
    const worst = Math.max(...y.dataSync().map((v, i) => Math.abs(v - io[`${name}.y`]!.dataSync()[i]!)));
    expect(worst).toBeLessThanOrEqual(1e-5);
    expectClose(inputs[0]!, io[`${name}.grad_x`]!, 1e-5, 'gradient');
  });

  it.each(pil.map((c, i) => [`pil${i}`, c] as const))(
    'resizeUint8 agrees with PIL on case %s: %o',
    (name, { from, to, mode }) => {
      const image = Uint8Array.from(io[`${name}.image_uint8_hwc`]!.dataSync());
      const expected = io[`${name}.resized_uint8_hwc`]!.dataSync();
      const resized = resizeUint8(image, from, to, { mode: mode as 'bilinear' | 'bicubic' });
      expect([...resized]).toEqual([...expected]);
    },
  );

  interface PilCase {
    from: [number, number];
    to: [number, number];
    mode: 'bilinear' | 'bicubic';
    sha256: string;
  }
  it.each(fixtureJson<{ cases: PilCase[] }>('resize-pil/case.json').cases)(
    "resizeUint8 gives PIL's bytes: $from to $to, $mode",
    ({ from, to, mode, sha256 }) => {
      const resized = resizeUint8(generatedPixels(...from), from, to, { mode });
      expect(createHash('sha256').update(resized).digest('hex')).toBe(sha256);
    },
  );

  /** The pixels of generate.py: half of them are black or white. */
  function generatedPixels(height: number, width: number): Uint8Array {
    let state = height * 1000 + width;
    return Uint8Array.from({ length: height * width * 3 }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state & 0x10000 ? state >>> 24 : 255 * (state >>> 31);
    });
  }
});
