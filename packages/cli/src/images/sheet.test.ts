import { mkdtempSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { tensor4d, type Tensor4D } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { ensureBackend } from '@alignprop/autograd-ext';
import { decodePng, encodePng } from '@alignprop/diffusion';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { cutSheet, writeScoredSheet } from './sheet.js';

const folder = temporaryFolder();
const [height, width] = [128, 192];

/** Images of one grey each. */
const greys = (...values: readonly number[]): Tensor4D =>
  tensor4d(
    Float32Array.from(
      { length: values.length * height * width * 3 },
      (_, i) => values[Math.floor(i / (height * width * 3))]! / 255,
    ),
    [values.length, height, width, 3],
  );

async function written(images: Tensor4D, prompts: readonly string[], columns?: number): Promise<Uint8Array> {
  const path = join(mkdtempSync(join(folder, 'sheet-')), 'sheet.png');
  const rewards = prompts.map((_, i) => i - 0.5);
  await writeScoredSheet(path, { images, prompts, rewards }, { columns, remark: 'a remark' });
  images.dispose();
  return readFileSync(path);
}

describe('cutSheet', () => {
  beforeAll(() => ensureBackend());

  it('returns the images that were written, with their prompts and rewards', async () => {
    const prompts = ['a\ncrab', '', 'tea (reward 3)', 'x'];
    const images = cutSheet(await written(greys(10, 80, 160, 250), prompts, 2), { rows: 2, maxSide: 256 });
    expect(images.map(({ prompt, reward }) => [prompt, reward])).toEqual(prompts.map((prompt, i) => [prompt, i - 0.5]));
    for (const [i, grey] of [10, 80, 160, 250].entries()) {
      const { data, ...size } = decodePng(images[i]!.png);
      expect(size).toMatchObject({ height, width });
      expect([Math.min(...data), Math.max(...data)]).toEqual([grey, grey]);
    }
  });

  it('averages large images down', async () => {
    const png = await written(greys(10, 80), ['a', 'b']);
    const [first] = cutSheet(png, { maxSide: 64 });
    expect(decodePng(first!.png)).toMatchObject({ height: 42, width: 64 });
    const data = Uint8Array.from({ length: 4 * 2 * 3 }, (_, i) => (i < 12 ? 100 : 201));
    const [averaged] = cutSheet(encodePng(data, { height: 2, width: 4 }), { maxSide: 2 });
    expect([...decodePng(averaged!.png).data]).toEqual(Array.from({ length: 6 }, () => 151));
  });

  it('takes a sheet whose text does not fit its size for one image', async () => {
    const { data, text, ...size } = decodePng(await written(greys(10, 80), ['a', 'b']));
    const others = ['no prompts', `${text.parameters}\na third (reward 1)`];
    for (const parameters of others)
      expect(cutSheet(encodePng(data, { ...size, parameters }), { maxSide: 1000 })).toMatchObject([
        { prompt: parameters, reward: NaN, ...size },
      ]);
  });
});
