import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { encodePng } from '@alignprop/diffusion';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { UsageError } from '../terminal/errors.js';
import { readImage } from './read-image.js';

const folder = temporaryFolder();
const path = (name: string): string => join(folder, name);
const [height, width] = [5, 7];
const data = Uint8Array.from({ length: height * width * 3 }, (_, i) => (i * 11) % 256);
const raw = () => sharp(data, { raw: { height, width, channels: 3 } });

describe('readImage', () => {
  it('reads PNG files', async () => {
    writeFileSync(path('a.png'), encodePng(data, { height, width }));
    expect(await readImage(path('a.png'))).toMatchObject({ data, height, width });
  });

  it('reads WebP and JPEG files with sharp, whatever their extension', async () => {
    await raw().webp({ lossless: true }).toFile(path('a.webp'));
    expect(await readImage(path('a.webp'))).toEqual({ data, height, width });
    writeFileSync(path('misnamed.png'), await raw().jpeg({ quality: 100 }).toBuffer());
    expect(await readImage(path('misnamed.png'))).toMatchObject({ height, width });
  });

  it('converts grey and transparent images to RGB, and rotates by the EXIF orientation', async () => {
    await sharp({ create: { height, width, channels: 4, background: { r: 10, g: 20, b: 30, alpha: 0 } } })
      .webp({ lossless: true, exact: true })
      .toFile(path('clear.webp'));
    expect([...(await readImage(path('clear.webp'))).data.slice(0, 4)]).toEqual([10, 20, 30, 10]);
    await raw().greyscale().webp({ lossless: true }).toFile(path('grey.webp'));
    const grey = await readImage(path('grey.webp'));
    expect(grey.data).toHaveLength(height * width * 3);
    expect(grey.data[0]).toBe(grey.data[2]);
    await raw().withMetadata({ orientation: 6 }).jpeg().toFile(path('turned.jpg'));
    expect(await readImage(path('turned.jpg'))).toMatchObject({ height: width, width: height });
  });

  it('refuses more than 33 megapixels', async () => {
    writeFileSync(path('large.svg'), '<svg xmlns="http://www.w3.org/2000/svg" width="20000" height="20000"/>');
    await expect(readImage(path('large.svg'))).rejects.toThrow(/image: '.*large\.svg': .*pixel limit/);
  });

  it('names a file that does not exist, is not an image, or is damaged', async () => {
    await expect(readImage(path('none.png'))).rejects.toThrow(UsageError);
    await expect(readImage(path('none.png'))).rejects.toThrow(/image: cannot read '.*none\.png': ENOENT/);
    writeFileSync(path('text.png'), 'hello');
    await expect(readImage(path('text.png'))).rejects.toThrow(/image: '.*text\.png': .*unsupported image format/);
    writeFileSync(path('cut.png'), encodePng(data, { height, width }).subarray(0, 60));
    await expect(readImage(path('cut.png'))).rejects.toThrow(
      /image: '.*cut\.png': decodePng: 60 bytes are no PNG file, or a damaged one/,
    );
  });
});
