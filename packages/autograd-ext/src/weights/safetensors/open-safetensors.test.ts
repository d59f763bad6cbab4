import { mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fixtureJson, fixturePath } from '../../../../../fixtures/index.js';
import { directory } from '../files/directory.js';
import { memory } from '../files/memory.js';
import { openSafetensors } from './open-safetensors.js';

type Cases = Record<string, { must: string; expect?: Record<string, number[][]> }>;
const cases = Object.entries(fixtureJson<{ 'broken-safetensors': Cases }>('files/case.json')['broken-safetensors']);
const broken = directory(fixturePath('files/broken-safetensors'));

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'open-safetensors-'));
});
afterAll(() => rm(folder, { recursive: true }));

/** Encodes a file with one tensor, x. */
function fileOf(dtype: string, shape: number[], data: ArrayBufferView, pad = 0): Uint8Array {
  const json = JSON.stringify({ x: { dtype, shape, data_offsets: [0, data.byteLength] } }) + ' '.repeat(pad);
  const bytes = new Uint8Array(8 + json.length + data.byteLength);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true);
  bytes.set(new TextEncoder().encode(json), 8);
  bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), 8 + json.length);
  return bytes;
}

const readX = async (bytes: Uint8Array) => (await openSafetensors(memory({ f: bytes }), 'f')).tensors.get('x')!.read();

describe('openSafetensors, fixtures', () => {
  it.each(cases.filter(([, { must }]) => must.startsWith('fail')))('refuses %s', async (file) => {
    await expect(openSafetensors(broken, file)).rejects.toThrow(
      new RegExp(`^openSafetensors: '.*${file}' is not a valid safetensors file: .+\\. .+\\.$`),
    );
  });

  it.each(cases.filter(([, { must }]) => !must.startsWith('fail')))('reads %s', async (file, { expect: expected }) => {
    const { tensors } = await openSafetensors(broken, file);
    const values = await Promise.all(
      [...tensors].map(async ([name, tensor]) => [name, [...(await tensor.read())]] as const),
    );
    for (const [name, rows] of Object.entries(expected ?? {})) expect(new Map(values).get(name)).toEqual(rows.flat());
    expect(Object.getOwnPropertyNames(Object.prototype)).toContain('toString');
    expect(({} as Record<string, unknown>)['dtype']).toBeUndefined();
  });

  it.each([
    ['lfs-pointer', /It is a git-lfs pointer, not the file itself\. Run 'git lfs pull'/],
    ['html', /It is a web page/],
    ['offsets-hole', /tensor 'b': data_offsets got \[8, 16\], expected to begin at 4/],
    ['shape-mismatch', /tensor 'a': data_offsets got 16 bytes, expected 36 for F32 of shape \[3, 3\]/],
    ['dtype-unknown', /tensor 'a': dtype got "F13", expected one of BOOL/],
    ['data-truncated', /data got \d+ bytes, expected 16: the file was cut off/],
    ['trailing-bytes', /data got 24 bytes, expected 16: bytes follow the last tensor/],
    ['header-length-huge', /header length got 9223372036854775813, expected at most 25000000/],
  ])('names the problem of %s', async (file, message) => {
    await expect(openSafetensors(broken, `${file}.safetensors`)).rejects.toThrow(message);
  });

  it('treats the key __proto__ as any other', async () => {
    const { tensors } = await openSafetensors(broken, 'key-proto.safetensors');
    expect([...tensors.keys()]).toEqual(['__proto__']);
  });
});

describe('openSafetensors, dtypes', () => {
  it.each<[string, ArrayBufferView, Float32Array | Int32Array]>([
    ['F32', Float32Array.of(1.5, -0, NaN), Float32Array.of(1.5, -0, NaN)],
    ['F64', Float64Array.of(0.1, 1e300, -2), Float32Array.of(0.1, Infinity, -2)],
    ['F16', Uint16Array.of(0x3c00, 0x7bff, 0x8001), Float32Array.of(1, 65504, -(2 ** -24))],
    ['BF16', Uint16Array.of(0x3f80, 0xc049, 0x7f80), Float32Array.of(1, -3.140625, Infinity)],
    ['I64', BigInt64Array.of(-(2n ** 31n), 5n, 2n ** 31n - 1n), Int32Array.of(-(2 ** 31), 5, 2 ** 31 - 1)],
    ['U64', BigUint64Array.of(0n, 5n, 2n ** 31n - 1n), Int32Array.of(0, 5, 2 ** 31 - 1)],
    ['I32', Int32Array.of(-1, 0, 7), Int32Array.of(-1, 0, 7)],
    ['U32', Uint32Array.of(0, 1, 7), Int32Array.of(0, 1, 7)],
    ['I16', Int16Array.of(-1, 0, 32767), Int32Array.of(-1, 0, 32767)],
    ['U16', Uint16Array.of(0, 1, 65535), Int32Array.of(0, 1, 65535)],
    ['I8', Int8Array.of(-128, 0, 127), Int32Array.of(-128, 0, 127)],
    ['U8', Uint8Array.of(0, 1, 255), Int32Array.of(0, 1, 255)],
    ['BOOL', Uint8Array.of(0, 1, 1), Int32Array.of(0, 1, 1)],
  ])('widens %s at any alignment', async (dtype, data, expected) => {
    for (const pad of [0, 1, 2, 3, 7]) expect(await readX(fileOf(dtype, [3], data, pad))).toEqual(expected);
  });

  it('widens bytes that are not aligned in memory', async () => {
    const bytes = fileOf('F32', [2], Float32Array.of(1, 2));
    const read = async (offset: number, length: number) =>
      Uint8Array.of(0, ...bytes.slice(offset, offset + length)).subarray(1);
    const source = {
      ...memory({}),
      open: async () => ({ name: 'f', size: bytes.length, read, close: async () => {} }),
    };
    expect(await (await openSafetensors(source, 'f')).tensors.get('x')!.read()).toEqual(Float32Array.of(1, 2));
  });

  it.each([
    ['I64', BigInt64Array.of(0n, 2n ** 31n), 2147483648],
    ['I64', BigInt64Array.of(0n, -(2n ** 31n) - 1n), -2147483649],
    ['U64', BigUint64Array.of(0n, 2n ** 64n - 1n), 18446744073709551615n],
    ['U32', Uint32Array.of(0, 2 ** 31), 2147483648],
  ])('refuses a value of %s beyond int32', async (dtype, data, value) => {
    await expect(readX(fileOf(dtype, [2], data))).rejects.toThrow(
      `openSafetensors: tensor 'x' of 'memory/f': value 1 got ${value}, expected an integer between -2^31 and 2^31 - 1`,
    );
  });

  it.each(['F8_E4M3', 'F8_E5M2', 'F8_E4M3FNUZ', 'F8_E5M2FNUZ'])('reads %s', async (dtype) => {
    expect((await readX(fileOf(dtype, [2], Uint8Array.of(0, 0x40))))[1]).toBeGreaterThan(0.9);
  });

  it('opens a dtype without a reader, and fails when it is read', async () => {
    await expect(readX(fileOf('F8_E8M0', [2], Uint8Array.of(0, 0)))).rejects.toThrow(
      /tensor 'x' of 'memory\/f': dtype got 'F8_E8M0', expected one of F32, F16/,
    );
  });
});

describe('openSafetensors, files', () => {
  it('reads beyond 4 GiB', async () => {
    const far = 5 * 2 ** 30;
    const header = JSON.stringify({
      big: { dtype: 'U8', shape: [far], data_offsets: [0, far] },
      x: { dtype: 'F32', shape: [2], data_offsets: [far, far + 8] },
    });
    const prefix = Buffer.alloc(8);
    prefix.writeBigUInt64LE(BigInt(header.length));
    const file = await open(join(folder, 'far.safetensors'), 'w'); // sparse: takes no space on the disk
    await file.write(Buffer.concat([prefix, Buffer.from(header)]));
    await file.write(Buffer.from(Float32Array.of(1.5, -2).buffer), 0, 8, 8 + header.length + far);
    await file.close();
    const { tensors } = await openSafetensors(directory(folder), 'far.safetensors');
    expect(await tensors.get('x')!.read()).toEqual(Float32Array.of(1.5, -2));
    expect(tensors.get('x')!.location).toEqual({
      file: join(folder, 'far.safetensors'),
      offset: 8 + header.length + far,
      length: 8,
    });
  });

  it('throws if the file changed after it was opened', async () => {
    await writeFile(join(folder, 'changed.safetensors'), fileOf('F32', [1], Float32Array.of(1)));
    const { tensors } = await openSafetensors(directory(folder), 'changed.safetensors');
    await writeFile(join(folder, 'changed.safetensors'), fileOf('F32', [2], Float32Array.of(1, 2)));
    await expect(tensors.get('x')!.read()).rejects.toThrow(
      /changed\.safetensors' got \d+ bytes, expected \d+: it changed after it was opened/,
    );
  });

  it('names a file that is missing', async () => {
    await expect(openSafetensors(directory(folder), 'nope.safetensors')).rejects.toThrow(
      /nope\.safetensors': there is no such file\. Check the path\.$/,
    );
  });
});
