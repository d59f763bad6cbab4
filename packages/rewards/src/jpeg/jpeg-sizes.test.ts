import { readFile, stat } from 'node:fs/promises';
import { useBackend } from '@alignprop/autograd-ext';
import { tensor, tidy, type Tensor4D } from '@tensorflow/tfjs-core';
import sharp from 'sharp';
import { beforeAll, describe, expect, it } from 'vitest';
import { fixtureJson, fixturePath, fixtureTensors } from '../../../../fixtures/index.js';
import { jpegKilobytes } from './jpeg-kilobytes.js';
import { jpegSize } from './jpeg-size.js';
import { sampleImages, type SampleImage } from './__fixtures__/sample-images.js';

const qualities = [10, 50, 80, 95] as const;

/** sharp leaves out the JFIF segment that libjpeg and Pillow write. */
const JFIF_BYTES = 18;

const encodedSize = async ({ data, height, width }: SampleImage, quality: number): Promise<number> => {
  const image = sharp(data, { raw: { width, height, channels: 3 } });
  return (
    (await image.jpeg({ quality, chromaSubsampling: '4:2:0', optimiseCoding: false }).toBuffer()).length + JFIF_BYTES
  );
};

/** Reads the samples of the embedded model: drawings of 64×64. */
async function drawings(): Promise<SampleImage[]> {
  const file = new URL('../../../cli/models/tiny-emoji/samples.png', import.meta.url);
  const { data: sheet, info } = await sharp(await readFile(file))
    .removeAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
  const columns = info.width / 64;
  return Array.from({ length: columns * (info.height / 64) }, (_, i) => {
    const data = new Uint8Array(64 * 64 * 3);
    for (let row = 0; row < 64; row++) {
      const start = ((Math.floor(i / columns) * 64 + row) * info.width + (i % columns) * 64) * 3;
      data.set(sheet.subarray(start, start + 64 * 3), row * 64 * 3);
    }
    return { name: `drawing ${i}`, height: 64, width: 64, data };
  });
}

const estimate = ({ data, height, width }: SampleImage, quality: number): number =>
  tidy(
    () =>
      jpegKilobytes(
        tensor(
          Float32Array.from(data, (v) => v / 255),
          [1, height, width, 3],
        ) as Tensor4D,
        { quality },
      ).dataSync()[0]! * 1000,
  );

describe('jpegSize', () => {
  interface TrueSize {
    readonly image: string;
    readonly hw: [number, number];
    readonly [bytes: `bytes_q${number}`]: number;
  }
  const { true_sizes: cases } = fixtureJson<{ true_sizes: TrueSize[] }>('jpeg/case.json');

  it.each(cases)("of $image is the size of Pillow's file", async (golden) => {
    await useBackend('cpu');
    const [height, width] = golden.hw;
    const data = Uint8Array.from(
      (await fixtureTensors('jpeg/io.safetensors'))[`${golden.image}.uint8_hwc`]!.dataSync(),
    );
    for (const quality of qualities) {
      expect((await stat(fixturePath(`jpeg/${golden.image}_q${quality}.jpg`))).size).toBe(golden[`bytes_q${quality}`]);
      expect(jpegSize({ data, height, width }, { quality }), `quality ${quality}`).toBe(golden[`bytes_q${quality}`]);
    }
  });

  it('equals the size of every file that sharp writes', async () => {
    for (const image of [...sampleImages(8), ...(await drawings())])
      for (const quality of [1, ...qualities, 100])
        expect(jpegSize(image, { quality }), `${image.name}, quality ${quality}`).toBe(
          await encodedSize(image, quality),
        );
  });

  it('rejects a wrong number of values and a quality out of range', () => {
    const data = new Uint8Array(12);
    expect(() => jpegSize({ data, height: 2, width: 3 })).toThrow(
      'data got 12 values for 2×3 pixels, expected height·width·3',
    );
    expect(() => jpegSize({ data, height: 2, width: 2 }, { quality: 101 })).toThrow('quality got 101');
  });
});

describe('jpegKilobytes', () => {
  beforeAll(() => useBackend('wasm'));

  it('ranks images like the sizes of their files, with small errors', async () => {
    const [synthetic, drawn] = [sampleImages(8), await drawings()];
    const pairs = (images: readonly SampleImage[], quality: number) =>
      images.map((image) => [estimate(image, quality), jpegSize(image, { quality })] as const);
    const report = qualities.map((quality) => [pairs(synthetic, quality), pairs(drawn, quality)] as const);
    const all = report.flat(2);
    const usual = report[qualities.indexOf(95)]!;
    expect(rankCorrelation(all)).toBeGreaterThan(0.99);
    for (const pairs of report.flat()) expect(rankCorrelation(pairs)).toBeGreaterThan(0.95);
    expect(meanError(all)).toBeLessThan(0.032);
    expect(meanError(usual[0])).toBeLessThan(0.08);
    expect(meanError(usual[1])).toBeLessThan(0.02);
  });
});

type Pairs = readonly (readonly [estimate: number, size: number])[];

const meanError = (pairs: Pairs) =>
  pairs.reduce((sum, [estimate, size]) => sum + Math.abs(estimate / size - 1), 0) / pairs.length;

/** Spearman's rank correlation; equal values get the mean of their ranks. */
function rankCorrelation(pairs: Pairs): number {
  const ranks = (values: number[]) =>
    values.map((v) => values.filter((w) => w < v).length + values.filter((w) => w === v).length / 2);
  const [a, b] = [ranks(pairs.map(([x]) => x)), ranks(pairs.map(([, y]) => y))];
  const mean = pairs.length / 2;
  const product = (x: number[], y: number[]) => x.reduce((sum, v, i) => sum + (v - mean) * (y[i]! - mean), 0);
  return product(a, b) / Math.sqrt(product(a, a) * product(b, b));
}
