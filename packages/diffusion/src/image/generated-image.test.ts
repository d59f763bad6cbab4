import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp, { type Sharp } from 'sharp';
import { describe, expect, expectTypeOf, it } from 'vitest';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import type { Canvas } from './canvas.js';
import { GeneratedImage } from './generated-image.js';
import type { GenerationSettings } from './parameters.js';
import { decodePng, encodePng } from './png.js';
import type { SharpImage } from './sharp.js';
import { toUint8 } from './to-uint8.js';

const [height, width] = [16, 24];
const settings: GenerationSettings = {
  ...{ prompt: 'a crab, ink', steps: 5, sampler: 'DDIMScheduler', guidanceScale: 5, seed: 3, height, width },
};
const text = 'a crab, ink\nSteps: 5, Sampler: DDIM, CFG scale: 5, Seed: 3, Size: 24x16';
const bytes = Uint8Array.from({ length: height * width * 3 }, (_, i) => (i * 5) % 251);
const image = () => new GeneratedImage(bytes.slice(), settings);

/** A canvas that keeps its pixels, as packages for Node have it. */
function canvasOf(context = true): Canvas & { pixels: Uint8ClampedArray } {
  const canvas = {
    ...{ width: 1, height: 1, pixels: new Uint8ClampedArray() },
    getContext: () =>
      context
        ? {
            createImageData: (w: number, h: number) => ({ data: new Uint8ClampedArray(w * h * 4) }),
            putImageData: ({ data }: { data: Uint8ClampedArray }) =>
              void (canvas.pixels = Uint8ClampedArray.from(data)),
          }
        : null,
  };
  return canvas;
}

describe('GeneratedImage', () => {
  it('has its size and settings, and returns copies of its bytes', async () => {
    const crab = image();
    expect([crab.height, crab.width, crab.settings]).toEqual([height, width, settings]);
    expect(crab.data).toEqual(bytes);
    (await crab.toUint8()).fill(0);
    expect(await crab.toUint8()).toEqual(bytes);
    expect(await toUint8([crab, crab])).toEqual([bytes, bytes]);
    expect(() => new GeneratedImage(bytes, { ...settings, width: 5 })).toThrow(
      'GeneratedImage: data got 1152 bytes, expected height 16 × width 5 × 3.',
    );
  });

  it('draws on a canvas that is given, in its size and opaque; Node has none to create', () => {
    const canvas = canvasOf();
    expect(image().toCanvas(canvas)).toBe(canvas);
    expect([canvas.height, canvas.width]).toEqual([height, width]);
    expect(canvas.pixels.filter((_, i) => i % 4 !== 3)).toEqual(new Uint8ClampedArray(bytes));
    expect(canvas.pixels.filter((_, i) => i % 4 === 3)).toEqual(new Uint8ClampedArray(height * width).fill(255));
    expect(() => image().toCanvas()).toThrow(/got no canvas, and there is no page.*@napi-rs\/canvas in Node\. Or call/);
    expect(() => image().toCanvas(canvasOf(false))).toThrow("the canvas has no context '2d', but another one");
  });

  it('becomes an image of sharp, with the type of this package or its own', async () => {
    const crab = await image().toSharp();
    expectTypeOf(crab).toEqualTypeOf<SharpImage>();
    const small = await (await image().toSharp<Sharp>()).resize(12, 8).raw().toBuffer({ resolveWithObject: true });
    expect(small.info).toMatchObject({ width: 12, height: 8, channels: 3 });
    expect(decodePng(new Uint8Array(await crab.png().toBuffer())).data).toEqual(bytes);
    expectTypeOf<Sharp>().toExtend<SharpImage>();
  });

  it('refuses every use after dispose, which may be called again', async () => {
    const crab = image();
    crab.dispose();
    crab.dispose();
    expect(crab.height).toBe(height);
    const message = (name: string) => `GeneratedImage.${name}: the image was disposed. Call it before dispose.`;
    expect(() => crab.data).toThrow(message('data'));
    expect(() => crab.toCanvas(canvasOf())).toThrow(message('toCanvas'));
    await expect(crab.toUint8()).rejects.toThrow(message('toUint8'));
    await expect(crab.save('a.png')).rejects.toThrow(message('save'));
    await expect(crab.toBlob()).rejects.toThrow(message('toBlob'));
    await expect(crab.toSharp()).rejects.toThrow(message('toSharp'));
  });
});

describe('GeneratedImage.save and toBlob', () => {
  const folder = temporaryFolder();
  const path = (name: string) => join(folder, name);

  it('write PNG files with the settings as A1111 writes them, with another text, or without', async () => {
    await image().save(path('new/folder/a.PNG'));
    expect(decodePng(readFileSync(path('new/folder/a.PNG')))).toEqual({
      ...{ data: bytes, height, width, text: { parameters: text } },
    });
    await image().save(path('b.png'), { parameters: 'mine' });
    expect(decodePng(readFileSync(path('b.png'))).text).toEqual({ parameters: 'mine' });
    await image().save(path('b.png'), { parameters: null });
    expect(new Uint8Array(readFileSync(path('b.png')))).toEqual(encodePng(bytes, { height, width }));
    const blob = await image().toBlob();
    expect(blob.type).toBe('image/png');
    expect(new Uint8Array(await blob.arrayBuffer())).toEqual(encodePng(bytes, { height, width, parameters: text }));
  });

  it.each([
    ['a.jpg', 'image/jpeg', 'jpeg'],
    ['a.JPEG', 'image/jpeg', 'jpeg'],
    ['a.webp', 'image/webp', 'webp'],
  ] as const)('encode %s with sharp', async (name, type, format) => {
    await image().save(path(name), { quality: 100 });
    const { info, data } = await sharp(path(name)).raw().toBuffer({ resolveWithObject: true });
    expect(info).toMatchObject({ width, height, channels: 3 });
    expect((await sharp(path(name)).metadata()).format).toBe(format);
    const difference = data.reduce((sum, value, i) => sum + Math.abs(value - bytes[i]!), 0) / data.length;
    expect(difference).toBeLessThan(40); // of 255: the pixels are noise
    const [blob, rough] = [await image().toBlob(type, { quality: 100 }), await image().toBlob(type, { quality: 1 })];
    expect(blob.type).toBe(type);
    expect(new Uint8Array(await blob.arrayBuffer())).toEqual(new Uint8Array(readFileSync(path(name))));
    expect(rough.size).toBeLessThan(blob.size);
  });

  it('refuse other formats and options that a format does not have, and write nothing', async () => {
    const before = readdirSync(folder);
    for (const name of ['crab', 'crab.gif', 'crab.png.txt'])
      await expect(image().save(path(name))).rejects.toThrow(
        /save: path got '.*crab.*', expected a name that ends in \.png, \.jpg, \.jpeg or \.webp/,
      );
    await expect(image().save(path('x.png'), { quality: 90 })).rejects.toThrow(/quality got 90 for a PNG file/);
    await expect(image().save(path('x.jpg'), { quality: 0 })).rejects.toThrow(/quality got 0, expected an integer/);
    await expect(image().save(path('x.jpg'), { parameters: 'a' })).rejects.toThrow(/parameters got a text for image/);
    await expect(image().save(path('x.jpg'), { qualty: 9 } as object)).rejects.toThrow(/Did you mean 'quality'\?/);
    await expect(image().toBlob('image/gif' as never)).rejects.toThrow(
      /type got 'image\/gif', expected one of image\/png, image\/jpeg, image\/webp/,
    );
    expect(readdirSync(folder)).toEqual(before);
  });

  it('leave an older file as it is where the new one cannot be written', async () => {
    mkdirSync(path('locked.png'));
    writeFileSync(path('locked.png/inside'), 'old');
    await expect(image().save(path('locked.png'))).rejects.toThrow(/cannot write '.*locked\.png'/);
    expect(readFileSync(path('locked.png/inside'), 'utf8')).toBe('old');
    expect(readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });
});
