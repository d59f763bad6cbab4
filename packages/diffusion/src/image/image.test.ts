import { readFileSync } from 'node:fs';
import { constants, deflateRawSync } from 'node:zlib';
import { encode } from 'fast-png';
import { tensor4d } from '@tensorflow/tfjs-core';
import { useBackend } from '@alignprop/autograd-ext';
import { expectNoLeaks } from '@alignprop/autograd-ext/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { testBackends } from '../../../../fixtures/engines.js';
import { fixturePath } from '../../../../fixtures/index.js';
import { imageGrid } from './image-grid.js';
import { formatParameters, type GenerationSettings } from './parameters.js';
import { decodePng, encodePng } from './png.js';
import { toUint8 } from './to-uint8.js';

const gradient = (height: number, width: number) =>
  Uint8Array.from({ length: height * width * 3 }, (_, i) => (i * 37) % 256);

describe.each(testBackends)('toUint8 on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it('clips, rounds halves to even and returns one array per image', async () => {
    await expectNoLeaks(async () => {
      const images = tensor4d(
        [0, 1, 0.5, 2.5 / 255, 1.5 / 255, 3.4 / 255, -0.1, 1.1, 254.4 / 255, 1, 1, 1],
        [2, 1, 2, 3],
      );
      const bytes = await toUint8(images);
      images.dispose();
      expect(bytes.map((image) => [...image])).toEqual([
        [0, 255, 128, 2, 2, 3],
        [0, 255, 254, 255, 255, 255],
      ]);
    });
  });

  it('names the image that contains NaN', async () => {
    const images = tensor4d([0, 0, 0, 0, NaN, 0], [2, 1, 1, 3]);
    await expect(toUint8(images)).rejects.toThrow(/image 1 got NaN at value 1/);
    images.dispose();
  });
});

describe('encodePng and decodePng', () => {
  it('round-trip the pixels and the text', () => {
    const data = gradient(5, 7);
    for (const parameters of ['a cat\nSteps: 5', 'café ½', 'crab 🦀 猫 – “x”\nSteps: 5', '\x85 control', '']) {
      const decoded = decodePng(encodePng(data, { height: 5, width: 7, parameters }));
      expect(decoded).toEqual({ data, height: 5, width: 7, text: { parameters } });
    }
    expect(decodePng(encodePng(data, { height: 5, width: 7 }))).toEqual({ data, height: 5, width: 7, text: {} });
  });

  it('store the text before the pixels, in tEXt if Latin-1 can encode it, else in iTXt', () => {
    const order = (parameters: string) => {
      const file = Buffer.from(encodePng(gradient(2, 2), { height: 2, width: 2, parameters })).toString('latin1');
      return ['tEXt', 'iTXt', 'IDAT']
        .map((type) => [type, file.indexOf(type)] as const)
        .filter(([, at]) => at > 0)
        .sort(([, a], [, b]) => a - b)
        .map(([type]) => type);
    };
    expect(order('plain é')).toEqual(['tEXt', 'IDAT']);
    expect(order('🦀')).toEqual(['iTXt', 'IDAT']);
  });

  it('decode grey, alpha, palettes and 16 bits to RGB', () => {
    const read = (image: Parameters<typeof encode>[0]) => [...decodePng(encode(image)).data];
    const size = { height: 1, width: 2 };
    expect(read({ ...size, channels: 1, data: Uint8Array.of(7, 9) })).toEqual([7, 7, 7, 9, 9, 9]);
    expect(read({ ...size, channels: 2, data: Uint8Array.of(7, 255, 9, 0) })).toEqual([7, 7, 7, 9, 9, 9]);
    expect(read({ ...size, channels: 4, data: Uint8Array.of(1, 2, 3, 255, 4, 5, 6, 0) })).toEqual([1, 2, 3, 4, 5, 6]);
    expect(
      read({ ...size, channels: 3, depth: 16, data: Uint16Array.of(0x0180, 0x02ff, 0x0300, 0, 0xffff, 0x7fff) }),
    ).toEqual([1, 2, 3, 0, 255, 127]);
    expect(
      read({
        ...size,
        channels: 1,
        depth: 8,
        palette: [
          [1, 2, 3],
          [4, 5, 6],
        ],
        data: Uint8Array.of(1, 0),
      }),
    ).toEqual([4, 5, 6, 1, 2, 3]);
  });

  it('decode files of other writers', () => {
    const { data, height, width } = decodePng(readFileSync(fixturePath('jpeg/image0.png')));
    expect(data).toHaveLength(height * width * 3);
  });

  it('reject a small file with 1.5 GB of pixels, or with a large image, in less than 2 s and 500 MB', () => {
    const chunk = (type: string, data: Uint8Array) => {
      const frame = Buffer.alloc(12 + data.length); // length, type, data, and a checksum that is not reached
      frame.writeUInt32BE(data.length);
      frame.write(type, 4, 'latin1');
      frame.set(data, 8);
      return frame;
    };
    const header = (side: number) => {
      const data = Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 8, 2, 0, 0, 0]); // 8-bit RGB
      data.writeUInt32BE(side, 0);
      data.writeUInt32BE(side, 4);
      return chunk('IHDR', data);
    };
    const zeros = deflateRawSync(new Uint8Array(2 ** 24), { finishFlush: constants.Z_FULL_FLUSH }); // can be repeated
    const pixels = Buffer.concat([Uint8Array.of(0x78, 0x9c), ...Array.from({ length: 90 }, () => zeros)]);
    const signature = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
    const file = (side: number) =>
      Buffer.concat([signature, header(side), chunk('IDAT', pixels), chunk('IEND', new Uint8Array())]);
    const [start, memory] = [process.cpuUsage(), process.memoryUsage().rss];
    expect(file(64).length).toBeLessThan(3e6);
    expect(() => decodePng(file(64))).toThrow('its pixels got more than 12352 bytes, expected 12352');
    expect(() => decodePng(file(20_000))).toThrow(
      'it got 20000 × 20000 pixels, 1200000000 bytes, expected at most 1000',
    );
    const { user, system } = process.cpuUsage(start);
    expect((user + system) / 1e6).toBeLessThan(2);
    expect(process.resourceUsage().maxRSS * 1024 - memory).toBeLessThan(500e6); // the peak
  });

  it('reject bytes that are not a PNG file, damaged files, and pixels of another size', () => {
    const png = encodePng(gradient(4, 4), { height: 4, width: 4, parameters: 'x' });
    const damaged = png.slice();
    damaged[png.length - 20]! ^= 1;
    for (const bytes of [new Uint8Array(), Uint8Array.of(1, 2, 3), png.subarray(0, 40), damaged]) {
      expect(() => decodePng(bytes)).toThrow(/decodePng: \d+ bytes are no PNG file, or a damaged one/);
    }
    expect(() => encodePng(gradient(4, 4), { height: 4, width: 5 })).toThrow(
      /data got 48 bytes, expected height 4 × width 5 × 3/,
    );
  });
});

describe('formatParameters', () => {
  const settings: GenerationSettings = {
    prompt: 'a fox, ink',
    steps: 50,
    sampler: 'DDIMScheduler',
    guidanceScale: 7.5,
    seed: 3,
    height: 512,
    width: 768,
  };

  it('writes the text of stable-diffusion-webui', () => {
    expect(formatParameters(settings)).toBe(
      'a fox, ink\nSteps: 50, Sampler: DDIM, CFG scale: 7.5, Seed: 3, Size: 768x512',
    );
    expect(
      formatParameters({
        ...settings,
        negativePrompt: 'blurry',
        eta: 1,
        model: 'org/name',
        extra: { Lora: 'a: b, "c"' },
      }),
    ).toBe(
      'a fox, ink\nNegative prompt: blurry\nSteps: 50, Sampler: DDIM, CFG scale: 7.5, Seed: 3, Size: 768x512, ' +
        'Model: org/name, Eta: 1, Lora: "a: b, \\"c\\""',
    );
  });

  it('omits unknown and default settings', () => {
    expect(
      formatParameters({ ...settings, prompt: '', seed: undefined, negativePrompt: '', eta: 0, sampler: 'Other' }),
    ).toBe('Steps: 50, Sampler: Other, CFG scale: 7.5, Size: 768x512');
  });
});

describe('imageGrid', () => {
  const flat = (value: number) => new Uint8Array(2 * 1 * 3).fill(value); // [2, 1, 3]
  const redChannel = ({ data, width }: { data: Uint8Array; width: number }) =>
    Array.from({ length: data.length / 3 / width }, (_, y) =>
      Array.from({ length: width }, (_, x) => data[(y * width + x) * 3]),
    );

  it('arranges images row by row and fills the remaining cells', () => {
    expect(redChannel(imageGrid([flat(1), flat(2), flat(3)], { height: 2, width: 1, columns: 2 }))).toEqual([
      [1, 2],
      [1, 2],
      [3, 255],
      [3, 255],
    ]);
  });

  it('adds gutters between and around the images', () => {
    const grid = imageGrid([flat(1), flat(2)], { height: 2, width: 1, gutter: 1, background: [9, 8, 7] });
    expect(grid).toMatchObject({ height: 4, width: 5 });
    expect(redChannel(grid)).toEqual([
      [9, 9, 9, 9, 9],
      [9, 1, 9, 2, 9],
      [9, 1, 9, 2, 9],
      [9, 9, 9, 9, 9],
    ]);
    expect([...grid.data.subarray(0, 3)]).toEqual([9, 8, 7]);
  });

  it('rejects an empty list, images of another size, and numbers out of range', () => {
    const size = { height: 2, width: 1 };
    expect(() => imageGrid([], size)).toThrow(/images got an empty list/);
    expect(() => imageGrid([flat(1), new Uint8Array(3)], size)).toThrow(/image 1 got 3 bytes/);
    expect(() => imageGrid([flat(1)], { ...size, columns: 0 })).toThrow(/columns got 0/);
    expect(() => imageGrid([flat(1)], { ...size, gutter: -1 })).toThrow(/gutter got -1/);
  });
});
