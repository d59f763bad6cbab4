import { scalar, tensor, tensor1d, tensor2d } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '../../backend.js';
import { elementCount } from '../../params.js';
import { directory } from '../files/directory.js';
import { memory } from '../files/memory.js';
import { openSafetensors } from './open-safetensors.js';
import { encodeSafetensors, saveSafetensors, type RawTensor } from './save-safetensors.js';

let folder: string;
beforeAll(async () => {
  await useBackend('cpu');
  folder = await mkdtemp(join(tmpdir(), 'save-safetensors-'));
});
afterAll(() => rm(folder, { recursive: true }));

const reopen = (bytes: Uint8Array) => openSafetensors(memory({ 'x.safetensors': bytes }), 'x.safetensors');
const headerOf = (bytes: Uint8Array) => {
  const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  return { length, text: new TextDecoder().decode(bytes.subarray(8, 8 + length)) };
};

const ints = (min: number, max: number) => fc.integer({ min, max });
const values: Record<string, fc.Arbitrary<number>> = {
  F32: fc.float({ noNaN: true }),
  F64: fc.float({ noNaN: true }),
  F16: ints(-2048, 2048),
  BF16: ints(-256, 256),
  I64: ints(-(2 ** 31), 2 ** 31 - 1),
  I32: ints(-(2 ** 31), 2 ** 31 - 1),
  I16: ints(-(2 ** 15), 2 ** 15 - 1),
  I8: ints(-128, 127),
  U8: ints(0, 255),
  BOOL: ints(0, 1),
};
const rawTensor = fc
  .record({ dtype: fc.constantFrom(...Object.keys(values)), shape: fc.array(fc.nat(4), { maxLength: 3 }) })
  .chain(({ dtype, shape }) => {
    const size = elementCount(shape);
    const Type = /F/.test(dtype) ? Float32Array : Int32Array;
    return fc
      .array(values[dtype]!, { minLength: size, maxLength: size })
      .map((data): RawTensor => ({ dtype, shape, data: Type.from(data) }));
  });
const names = fc.string({ unit: 'grapheme', maxLength: 12 }).filter((name) => name !== '__metadata__');

describe('encodeSafetensors', () => {
  it('writes what openSafetensors reads back, whatever the names, shapes and dtypes', async () => {
    const text = fc.string({ unit: 'grapheme' });
    await fc.assert(
      fc.asyncProperty(fc.dictionary(names, rawTensor), fc.dictionary(text, text), async (tensors, metadata) => {
        const bytes = encodeSafetensors(tensors, metadata);
        expect(headerOf(bytes).length % 8).toBe(0);
        const opened = await reopen(bytes);
        expect(Object.entries(opened.metadata).sort()).toEqual(Object.entries(metadata).sort());
        expect([...opened.tensors.keys()].sort()).toEqual(Object.keys(tensors).sort());
        for (const [name, stored] of opened.tensors) {
          expect(stored).toMatchObject({ dtype: tensors[name]!.dtype, shape: tensors[name]!.shape });
          expect(await stored.read()).toEqual(tensors[name]!.data);
        }
      }),
      { numRuns: 200 },
    );
  });

  it('writes tensors as float32, int32 and bool, keys sorted within a dtype', async () => {
    const bytes = encodeSafetensors(
      { b: tensor2d([[1, 2]]), n: tensor([3], [1], 'int32'), a: scalar(0.5), t: tensor1d([true, false], 'bool') },
      { format: 'pt' },
    );
    expect(headerOf(bytes).text.trimEnd()).toBe(
      '{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},' +
        '"b":{"dtype":"F32","shape":[1,2],"data_offsets":[4,12]},' +
        '"n":{"dtype":"I32","shape":[1],"data_offsets":[12,16]},' +
        '"t":{"dtype":"BOOL","shape":[2],"data_offsets":[16,18]}}',
    );
    const { tensors } = await reopen(bytes);
    expect(await tensors.get('b')!.read()).toEqual(Float32Array.of(1, 2));
    expect(await tensors.get('t')!.read()).toEqual(Int32Array.of(1, 0));
  });

  it('puts wide dtypes first, so that each tensor is aligned', async () => {
    const odd = { dtype: 'F16', shape: [3], data: Float32Array.of(1, 2, 3) };
    const { tensors } = await reopen(
      encodeSafetensors({ a: odd, b: tensor1d([1]), c: { ...odd, dtype: 'I64', shape: [3] } }),
    );
    expect([...tensors.keys()]).toEqual(['c', 'b', 'a']);
  });

  it('refuses a wrong number of values, an unknown dtype and a reserved name', () => {
    expect(() => encodeSafetensors({ __metadata__: tensor1d([1]) })).toThrow(/name got '__metadata__'/);
    expect(() => encodeSafetensors({ w: { dtype: 'F32', shape: [2, 2], data: new Float32Array(3) } })).toThrow(
      "saveSafetensors: tensor 'w' got 3 values, expected 4 for shape [2, 2].",
    );
    expect(() => encodeSafetensors({ w: { dtype: 'F8_E4M3', shape: [1], data: new Float32Array(1) } })).toThrow(
      /'w': dtype got 'F8_E4M3', expected one of F32/,
    );
  });
});

describe('saveSafetensors', () => {
  it('writes the bytes of encodeSafetensors and no other file', async () => {
    const tensors = {
      a: tensor2d([
        [1, 2],
        [3, 4],
      ]),
      b: { dtype: 'F16', shape: [2], data: Float32Array.of(0.5, -1) },
    };
    await saveSafetensors(join(folder, 'new/sub/x.safetensors'), tensors, { format: 'pt' });
    expect(await readFile(join(folder, 'new/sub/x.safetensors'))).toEqual(
      Buffer.from(encodeSafetensors(tensors, { format: 'pt' })),
    );
    expect(await readdir(join(folder, 'new/sub'))).toEqual(['x.safetensors']);
  });

  it('copies tensors from files and keeps their dtype', async () => {
    const bytes = encodeSafetensors({
      h: { dtype: 'BF16', shape: [2], data: Float32Array.of(1, 2.5) },
      f: tensor1d([7]),
    });
    const { tensors } = await reopen(bytes);
    await saveSafetensors(join(folder, 'copy.safetensors'), Object.fromEntries(tensors));
    expect(await readFile(join(folder, 'copy.safetensors'))).toEqual(Buffer.from(bytes));
  });

  it('leaves the old file and no other when it fails midway', async () => {
    const inside = join(folder, 'failing');
    await saveSafetensors(join(inside, 'x.safetensors'), { a: tensor1d([1]) });
    const before = await readFile(join(inside, 'x.safetensors'));
    const failing = { dtype: 'F32', shape: [1], read: () => Promise.reject(new Error('the disk is gone')) };
    await expect(saveSafetensors(join(inside, 'x.safetensors'), { a: tensor1d([2]), b: failing })).rejects.toThrow(
      /cannot write '.*x\.safetensors' \(\d+ bytes; \d+ are free in .*\): the disk is gone/,
    );
    expect(await readdir(inside)).toEqual(['x.safetensors']);
    expect(await readFile(join(inside, 'x.safetensors'))).toEqual(before);
  });

  it('names the path that cannot be written', async () => {
    await writeFile(join(folder, 'a-file'), '');
    await expect(saveSafetensors(join(folder, 'a-file/x.safetensors'), {})).rejects.toThrow(
      /^writeFileAtomic: cannot write '.*a-file\/x\.safetensors' \(\d+ bytes.*\): E.*Check/,
    );
  });

  it('writes values at the locations that openSafetensors returns', async () => {
    const path = join(folder, 'location.safetensors');
    await saveSafetensors(path, { a: tensor1d([1, 2]), b: tensor1d([3]) });
    const { tensors } = await openSafetensors(directory(folder), 'location.safetensors');
    const { file, offset, length } = tensors.get('b')!.location!;
    expect(file).toBe(path);
    expect(length).toBe(4);
    expect((await readFile(path)).readFloatLE(offset)).toBe(3);
  });
});
