import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { memory } from '../files/memory.js';
import { openSafetensors } from './open-safetensors.js';
import { headerLength, parseHeader } from './safetensors-header.js';

const encode = (value: unknown) => new TextEncoder().encode(typeof value === 'string' ? value : JSON.stringify(value));
const prefix = (length: bigint) => new Uint8Array(BigUint64Array.of(length).buffer);

describe('headerLength', () => {
  it('accepts a header that fits the file, up to 25 MB', () => {
    expect(headerLength(prefix(2n), 10)).toBe(2);
    expect(headerLength(prefix(25_000_000n), 2 ** 40)).toBe(25_000_000);
  });

  it.each([
    [3n, 10],
    [25_000_001n, 2 ** 40],
    [2n ** 63n, 10],
    [2n ** 64n - 1n, 10],
  ])('refuses %s in a file of %s bytes', (length, size) => {
    expect(() => headerLength(prefix(length), size)).toThrow(/^header length got/);
  });
});

describe('parseHeader', () => {
  const info = (begin: number, end: number, shape = [end - begin]) => ({
    dtype: 'U8',
    shape,
    data_offsets: [begin, end],
  });

  it('sorts by position, empty tensors before others at the same position', () => {
    const { tensors, metadata } = parseHeader(
      encode({ c: info(2, 5), b: info(0, 2), a: info(2, 2), __metadata__: { k: 'v' } }),
      5,
    );
    expect([...tensors.keys()]).toEqual(['b', 'a', 'c']);
    expect(metadata).toEqual({ k: 'v' });
  });

  it("reads null for metadata as no metadata, as Python's reader does", () => {
    expect(parseHeader(encode({ a: info(0, 1), __metadata__: null }), 1).metadata).toEqual({});
  });

  it('ignores unknown fields', () => {
    expect(parseHeader(encode({ a: { ...info(0, 1), more: 1 } }), 1).tensors.get('a')).toEqual({
      dtype: 'U8',
      shape: [1],
      begin: 0,
      end: 1,
    });
  });

  it.each([
    ['no dtype', { a: { shape: [1], data_offsets: [0, 1] } }],
    ['a dtype named like a property of every object', { a: { ...info(0, 1), dtype: 'constructor' } }],
    ['no shape', { a: { dtype: 'U8', data_offsets: [0, 1] } }],
    ['null for a tensor', { a: null }],
    ['a number for a tensor', { a: 1 }],
    ['three offsets', { a: { ...info(0, 1), data_offsets: [0, 1, 1] } }],
    ['a shape of strings', { a: { ...info(0, 1), shape: ['1'] } }],
    ['metadata that is no text', { __metadata__: { a: 1 } }],
    ['metadata that is a list', { __metadata__: [] }],
    ['half a byte', { a: { dtype: 'F4', shape: [1], data_offsets: [0, 1] } }],
    ['null', 'null'],
    ['nothing', ''],
  ])('refuses %s', (_, header) => expect(() => parseHeader(encode(header), 1)).toThrow(/ (expected|not JSON) /));

  it('refuses a byte order mark', () => {
    expect(() => parseHeader(encode('\uFEFF{}'), 0)).toThrow(/not JSON/);
  });

  it('returns tensors that cover the data exactly, whatever the header says', () => {
    const count = fc.oneof(fc.nat(20), fc.constantFrom(-1, 0.5, 2 ** 53, 1e300, null, '1'));
    const tensor = fc.record(
      {
        dtype: fc.constantFrom('U8', 'F32', 'F16', 'F13'),
        shape: fc.array(count, { maxLength: 3 }),
        data_offsets: fc.array(count, { maxLength: 3 }),
      },
      { requiredKeys: [] },
    );
    const header = fc.oneof(
      fc.dictionary(fc.string(), fc.oneof({ weight: 9, arbitrary: tensor }, fc.jsonValue())),
      fc.jsonValue(),
    );
    fc.assert(
      fc.property(header, fc.nat(20), (value, size) => {
        const parsed = attempt(() => parseHeader(encode(JSON.stringify(value)), size));
        if (parsed instanceof Error) return;
        const sizes = [...parsed.tensors.values()].map(({ begin, end }) => end - begin);
        expect(sizes.reduce((a, b) => a + b, 0)).toBe(size);
      }),
      { numRuns: 2000 },
    );
  });
});

describe('openSafetensors on arbitrary bytes', () => {
  it('reads the file or throws its own error', async () => {
    const file = fc
      .tuple(fc.nat(40), fc.uint8Array({ maxLength: 60 }))
      .map(([length, rest]) => Uint8Array.of(length, 0, 0, 0, 0, 0, 0, 0, ...rest));
    await fc.assert(
      fc.asyncProperty(fc.oneof(file, fc.uint8Array()), async (bytes) => {
        const error = await openSafetensors(memory({ x: bytes }), 'x').catch((cause: unknown) => cause);
        if (error instanceof Error)
          expect(error.message).toMatch(/^openSafetensors: 'memory\/x' is not a valid safetensors file: .+/);
      }),
      { numRuns: 1000 },
    );
  });
});

function attempt<T>(fn: () => T): T | Error {
  try {
    return fn();
  } catch (cause) {
    return cause as Error;
  }
}
