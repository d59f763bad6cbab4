import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { directory } from './directory.js';
import { readJson, readText, subfolder, type FileSource } from './file-source.js';
import { openSafetensors } from '../safetensors/open-safetensors.js';
import { encodeSafetensors } from '../safetensors/save-safetensors.js';
import { memory } from './memory.js';

const files = {
  'config.json': '{"a": [1, 2]}',
  'unet/weights.bin': 'abcdef',
  'unet/deep/x.json': 'not json',
  empty: '',
};
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'file-source-'));
  await mkdir(join(folder, 'unet/deep'), { recursive: true });
  for (const [path, text] of Object.entries(files)) await writeFile(join(folder, path), text);
});
afterAll(() => rm(folder, { recursive: true }));

const kinds: [string, () => FileSource][] = [
  ['directory', () => directory(folder)],
  ['memory', () => memory(files)],
  [
    'a subfolder of memory',
    () =>
      subfolder(
        memory(Object.fromEntries(Object.entries(files).map(([path, text]) => [`model/${path}`, text]))),
        'model',
      ),
  ],
];

describe.each(kinds)('%s', (_, make) => {
  it('has files and no folders', async () => {
    const source = make();
    expect(
      await Promise.all(
        ['config.json', 'unet/weights.bin', './unet//weights.bin', 'unet', 'nope', ''].map((path) => source.has(path)),
      ),
    ).toEqual([true, true, true, false, false, false]);
  });

  it('lists the files directly in a folder', async () => {
    expect(await make().list()).toEqual(['config.json', 'empty']);
    expect(await make().list('unet')).toEqual(['weights.bin']);
    expect(await subfolder(make(), 'unet').list()).toEqual(['weights.bin']);
    expect(await make().list('nowhere')).toEqual([]);
  });

  it('reads ranges', async () => {
    const file = await make().open('unet/weights.bin');
    expect(file.size).toBe(6);
    expect(new TextDecoder().decode(await file.read(2, 3))).toBe('cde');
    expect((await file.read(6, 0)).length).toBe(0);
    await expect(file.read(4, 3)).rejects.toThrow(/weights\.bin' got a read of bytes 4 to 7, expected at most 6\.$/);
    await file.close();
  });

  it('returns bytes that the caller may change', async () => {
    const source = make();
    const file = await source.open('unet/weights.bin');
    (await file.read(0, 6)).fill(0);
    await file.close();
    expect(await readText(source, 'unet/weights.bin')).toBe('abcdef');
  });

  it('reads text and JSON', async () => {
    expect(await readText(make(), 'empty')).toBe('');
    expect(await readJson(make(), 'config.json')).toEqual({ a: [1, 2] });
    await expect(readJson(make(), 'unet/deep/x.json')).rejects.toThrow(
      /^readJson: 'unet\/deep\/x\.json' in '.*' is not JSON\. Correct it or download it again\.$/,
    );
  });

  it('throws an error that names a missing file', async () => {
    await expect(make().open('unet/nope.json')).rejects.toThrow(
      /^(directory: cannot open|memory: there is no file) '.*unet\/nope\.json'/,
    );
  });

  it('does not open files outside its folder', async () => {
    await expect(make().open('../../../../../../../../../etc/passwd')).rejects.toThrow();
  });
});

describe('readJson', () => {
  it.each([
    [
      'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n',
      /is a git-lfs pointer, not the file itself\. Run 'git lfs pull'/,
    ],
    ['<!DOCTYPE html><html></html>', /is a web page/],
  ])('recognises %j', async (text, message) => {
    await expect(readJson(memory({ 'config.json': text }), 'config.json')).rejects.toThrow(message);
  });

  it.each(['null', '[{}]', '3', '"text"', 'NaN'])('refuses %s, which is no object', async (text) => {
    await expect(readJson(memory({ 'config.json': text }), 'config.json')).rejects.toThrow(
      `readJson: 'config.json' in 'memory' got ${text}, expected an object.`,
    );
  });

  it('refuses bytes that are not UTF-8', async () => {
    await expect(readJson(memory({ 'config.json': Uint8Array.of(0xff, 0xfe) }), 'config.json')).rejects.toThrow(
      /cannot read 'memory\/config\.json' as UTF-8 text/,
    );
  });
});

describe('memory', () => {
  const file = encodeSafetensors({
    a: { dtype: 'U8', shape: [3], data: Uint8Array.of(1, 2, 3) },
    b: { dtype: 'F64', shape: [2], data: Float32Array.of(0.5, -1) },
    c: { dtype: 'F16', shape: [3], data: Float32Array.of(1, 2, 0) },
    d: { dtype: 'F32', shape: [2], data: Float32Array.of(7, 8) },
    e: { dtype: 'I64', shape: [1], data: Int32Array.of(9) },
  });
  /** Returns the file at an offset in a larger buffer. */
  const at = <B extends Uint8Array>(larger: B, offset: number): B => {
    larger.set(file, offset);
    return larger.subarray(offset, offset + file.length) as B;
  };

  it.each([0, 1, 2, 3, 5, 7])(
    'reads Buffers, views and shared memory that begin at byte %i of a buffer',
    async (offset) => {
      for (const bytes of [
        at(Buffer.alloc(file.length + 8), offset),
        at(new Uint8Array(file.length + 8), offset),
        at(new Uint8Array(new SharedArrayBuffer(file.length + 8)), offset),
      ]) {
        const source = memory({ 'a.safetensors': bytes });
        const opened = await source.open('a.safetensors');
        const copy = await opened.read(0, 8);
        copy.fill(0); // the caller owns it
        const stored = (await openSafetensors(source, 'a.safetensors')).tensors;
        const values = await Promise.all([...stored].map(async ([name, { read }]) => [name, [...(await read())]]));
        expect(Object.fromEntries(values)).toEqual({ a: [1, 2, 3], b: [0.5, -1], c: [1, 2, 0], d: [7, 8], e: [9] });
      }
    },
  );
});
