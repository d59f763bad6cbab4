import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fixtureJson, fixturePath } from '../../../../../fixtures/index.js';
import { elementCount } from '../../params.js';
import { directory } from '../files/directory.js';
import { memory } from '../files/memory.js';
import { openSafetensors } from '../safetensors/open-safetensors.js';
import { bytesOf, pickled, torchZipOf, zipOf, zipSegments } from './__fixtures__/torch-files.js';
import { openTorchFile } from './open-torch-file.js';
import { TorchFileError } from './torch-file-error.js';

interface Cases {
  readonly pt: Record<
    string,
    { readonly expect: Record<string, { dtype: string; shape: number[] }>; readonly same_as?: string }
  >;
  readonly malicious: Record<string, string>;
  readonly 'broken-pt': Record<string, { readonly must: string; readonly what: string }>;
}
const cases = fixtureJson<Cases>('files/case.json');
const files = directory(fixturePath('files'));
const fixtureBytes = (path: string) => new Uint8Array(readFileSync(fixturePath(`files/${path}`)));
const openBytes = (bytes: Uint8Array) => openTorchFile(memory({ f: bytes }), 'f');

/** Reads all tensors of a file. */
async function readAll(open: ReturnType<typeof openTorchFile>): Promise<Map<string, Float32Array | Int32Array>> {
  const { tensors } = await open;
  const values = new Map<string, Float32Array | Int32Array>();
  for (const [name, tensor] of tensors) values.set(name, await tensor.read());
  return values;
}

const dtypes: Record<string, string> = {
  float16: 'F16',
  bfloat16: 'BF16',
  float32: 'F32',
  float64: 'F64',
  int64: 'I64',
  int32: 'I32',
  int16: 'I16',
  int8: 'I8',
  uint8: 'U8',
  bool: 'BOOL',
};

describe('openTorchFile, fixtures', () => {
  it.each(Object.entries(cases.pt))(
    'reads the same values from %s as torch',
    async (file, { expect: expected, same_as: twin }) => {
      const { tensors } = await openTorchFile(files, `pt/${file}`);
      const values = (await openSafetensors(files, 'pt/expected.safetensors')).tensors;
      for (const [name, { dtype, shape }] of Object.entries(expected)) {
        const tensor = tensors.get(name)!;
        expect([tensor.dtype, tensor.shape], name).toEqual([dtypes[dtype], shape]);
        expect(await tensor.read(), name).toEqual(await values.get(`${twin ?? file}|${name}`)!.read());
      }
      // memo.pt has more tensors than the fixture lists
      if (file !== 'memo.pt') expect([...tensors.keys()].sort()).toEqual(Object.keys(expected).sort());
    },
  );

  it('reads 300 views of one storage from memo.pt', async () => {
    expect((await openTorchFile(files, 'pt/memo.pt')).tensors.size).toBe(300);
  });

  it.each(Object.entries(cases.malicious))('refuses %s: %s', async (file, what) => {
    const name =
      /^calls (\S+)$/.exec(what)?.[1] ??
      { 'ext-opcode.pt': 'extension code 1', 'whole-module.pt': 'torch.nn.modules.linear.Linear' }[file] ??
      'os.system';
    await expect(openTorchFile(files, `malicious/${file}`)).rejects.toThrow(TorchFileError);
    await expect(openTorchFile(files, `malicious/${file}`)).rejects.toThrow(name);
    await expect(openTorchFile(files, `malicious/${file}`)).rejects.toThrow(
      /^openTorchFile: '.*' cannot be read: the pickle got .*, expected .*torch\.save\(module\.state_dict\(\), path\)/,
    );
  });

  it.each(Object.entries(cases['broken-pt']))('refuses %s', async (file) => {
    const reading = readAll(openTorchFile(files, `broken-pt/${file}`));
    await expect(reading).rejects.toThrow(TorchFileError);
    await expect(reading).rejects.toThrow(/^openTorchFile: .*' cannot be read: .+\. \S.*\.$/);
  });

  it.each([
    ['zip-crc-error.pt', /tensor 'w' .* the checksum of 'archive\/data\/0' got fb909f63, expected 3e667d78/],
    ['missing-storage.pt', /storage '1' is not in the archive, expected a file 'archive\/data\/1'/],
    ['short-storage.pt', /storage '0' got 20 bytes, expected 48 for 12 elements of F32/],
    [
      'shape-too-big.pt',
      /tensor 'w' of shape \[32767, 32767\] got elements up to 163830 of storage '0', expected them below 12/,
    ],
    ['offset-too-big.pt', /tensor 'w' of shape \[3, 4\] got elements up to 20 of storage '0', expected them below 12/],
    ['pickle-huge-string.pt', /got 4 more bytes at byte 7, expected 2147483647/],
    ['pickle-deep-nesting.pt', /more than 64 nested/],
    ['legacy-truncated.pt', /got 28 bytes, expected 48: the file was cut off/],
    ['legacy-wrong-magic.pt', /the magic number got 0x1850a86a20f9469cfc6c, expected 0x1950a86a20f9469cfc6c/],
    ['empty.pt', /it is empty/],
    ['html.pt', /It is a web page/],
    ['truncated-zip.pt', /the file was cut off/],
    ['zip-other.pt', /the archive got hello\.txt, expected one file 'NAME\/data\.pkl'/],
    ['pickle-not-a-dict.pt', /holds no tensors/],
  ])('names the problem of %s', async (file, message) => {
    await expect(readAll(openTorchFile(files, `broken-pt/${file}`))).rejects.toThrow(message);
  });

  it('tests every file of the fixture folders', () => {
    for (const folder of ['pt', 'malicious', 'broken-pt'] as const)
      expect(
        readdirSync(fixturePath(`files/${folder}`))
          .filter((file) => file !== 'expected.safetensors')
          .sort(),
      ).toEqual(Object.keys(cases[folder]).sort());
  });

  it('returns numbers and text as metadata', async () => {
    const { metadata } = await openTorchFile(files, 'pt/nested.pth');
    expect([...metadata].slice(0, 3)).toEqual([
      ['epoch', 3],
      ['name', 'tiny'],
      ['lr', 0.001],
    ]);
  });
});

describe('openTorchFile, locations of values', () => {
  it.each(['pt/strided.pt', 'pt/legacy.pt', 'pt/dtypes.pt', 'pt/deflated.pth'])(
    'returns locations in %s of the same bytes that read returns and scan visits',
    async (file) => {
      const { tensors } = await openTorchFile(files, file);
      const bytes = fixtureBytes(file);
      for (const { location, scan, dtype, shape, read } of tensors.values()) {
        expect(scan === undefined).toBe(location === undefined);
        if (!location) continue;
        const scanned: number[] = [];
        await scan!((piece) => scanned.push(...piece));
        expect(scanned).toEqual([...bytes.subarray(location.offset, location.offset + location.length)]);
        if (dtype !== 'F32') continue;
        expect(location).toEqual({
          file: fixturePath(`files/${file}`),
          offset: location.offset,
          length: 4 * elementCount(shape),
        });
        expect(new Float32Array(bytes.slice(location.offset, location.offset + location.length).buffer)).toEqual(
          await read(),
        );
      }
    },
  );

  it('returns locations of contiguous tensors of uncompressed storages in local files', async () => {
    const located = async (file: string) =>
      [...(await openTorchFile(files, file)).tensors].filter(([, { location }]) => location).map(([name]) => name);
    expect(await located('pt/strided.pt')).toEqual(['row', 'scalar', 'empty']);
    expect(await located('pt/legacy.pt')).toEqual(['a', 'h', 'n']);
    expect(await located('pt/deflated.pth')).toEqual([]);
    expect(
      [...(await openBytes(fixtureBytes('pt/dtypes.pt'))).tensors.values()].every(({ location }) => !location),
    ).toBe(true);
  });
});

describe('openTorchFile, reading', () => {
  const { dict, file, storage, tensor, text } = pickled;
  const numbers = new Uint8Array(Float32Array.of(0, 1, 2, 3, 4, 5).buffer);
  const one = (shape: number[], strides: number[], offset = 0) =>
    file(dict(text('x'), tensor(storage('FloatStorage', '0', 6), offset, shape, strides)));

  it('reads only the pickle when it opens, and only the range of a view once its storage was checked', async () => {
    const bytes = torchZipOf(one([2], [1], 3), { 0: numbers });
    const source = memory({ f: bytes });
    const ranges: number[] = [];
    const spying = {
      ...source,
      open: async (path: string) => {
        const opened = await source.open(path);
        return {
          ...opened,
          read: (offset: number, length: number) => (ranges.push(length), opened.read(offset, length)),
        };
      },
    };
    const x = (await openTorchFile(spying, 'f')).tensors.get('x')!;
    expect(ranges.slice(1)).not.toContain(numbers.length);
    ranges.length = 0;
    expect(await x.read()).toEqual(Float32Array.of(3, 4));
    expect(ranges).toEqual([8, 24]); // the view, then the whole storage for its checksum
    await x.read();
    expect(ranges).toEqual([8, 24, 8]);
  });

  it('checks the checksum of the whole storage of a view', async () => {
    const bytes = torchZipOf(one([2], [1]), { 0: numbers });
    const at = bytes.length - 200;
    // the last number, 5
    const damaged = bytes.map((byte, i) => (i === bytes.lastIndexOf(0xa0, at + 100) ? byte ^ 1 : byte));
    await expect(readAll(openBytes(damaged))).rejects.toThrow(
      /tensor 'x' of 'memory\/f' cannot be read: the checksum of 'a\/data\/0' got/,
    );
  });

  it('treats a checksum of zero as not computed', async () => {
    expect((await readAll(openBytes(torchZipOf(one([2], [3]), { 0: numbers }, { crc: () => 0 })))).get('x')).toEqual(
      Float32Array.of(0, 3),
    );
  });

  it('reads zip64 records and archives with a comment', async () => {
    for (const options of [{ zip64: true }, { comment: 'saved by hand' }])
      expect((await readAll(openBytes(torchZipOf(one([3], [2]), { 0: numbers }, options)))).get('x')).toEqual(
        Float32Array.of(0, 2, 4),
      );
  });

  it('opens a file of 6 GB by reading less than 70 kB of it, and reads a tensor beyond 4 GB', async () => {
    const value = file(
      dict(
        text('huge'),
        tensor(storage('FloatStorage', '0', 1.5 * 2 ** 30), 0, [1.5 * 2 ** 30], [1]),
        text('x'),
        tensor(storage('FloatStorage', '1', 6), 0, [6], [1]),
      ),
    );
    const { segments, size } = zipSegments(
      [
        ['a/data.pkl', value],
        ['a/data/0', 6 * 2 ** 30],
        ['a/data/1', numbers],
      ],
      { zip64: true },
    );
    let total = 0;
    const sparse = {
      name: 'f',
      size,
      path: '/f',
      close: () => Promise.resolve(),
      read: (offset: number, length: number) => {
        total += length;
        const bytes = new Uint8Array(length);
        for (const [at, segment] of segments)
          if (at < offset + length && at + segment.length > offset) {
            const part = segment.subarray(Math.max(0, offset - at), offset + length - at);
            bytes.set(part, Math.max(0, at - offset));
          }
        return Promise.resolve(bytes);
      },
    };
    const { tensors } = await openTorchFile({ ...memory({}), open: () => Promise.resolve(sparse) }, 'f');
    expect(total).toBeLessThan(70_000); // most of it to find the end of the archive
    expect(tensors.get('huge')!.location!.length).toBe(6 * 2 ** 30);
    expect(tensors.get('x')!.location!.offset).toBeGreaterThan(6 * 2 ** 30);
    expect(await tensors.get('x')!.read()).toEqual(Float32Array.of(0, 1, 2, 3, 4, 5));
    expect(total).toBeLessThan(70_000);
  });

  it('refuses members of another size than the archive says', async () => {
    const bytes = fixtureBytes('pt/deflated.pth');
    const entry = Buffer.from(bytes).indexOf('PK\x01\x02');
    new DataView(bytes.buffer).setUint32(entry + 24, 700, true);
    await expect(openBytes(bytes)).rejects.toThrow(
      /'nested\/data\.pkl' of the archive got other than 700 bytes when decompressed/,
    );
    new DataView(bytes.buffer).setUint32(entry + 24, 2 ** 26, true);
    await expect(openBytes(bytes)).rejects.toThrow(/got other than 67108864 bytes/);
    new DataView(bytes.buffer).setUint32(entry + 24, 2 ** 26 + 1, true);
    await expect(openBytes(bytes)).rejects.toThrow(
      /'nested\/data\.pkl' of the archive got 67108865 bytes, expected at most 67108864/,
    );
  });

  it('refuses entries that exceed the table of contents', async () => {
    const bytes = fixtureBytes('pt/parameters.pt');
    new DataView(bytes.buffer).setUint16(Buffer.from(bytes).lastIndexOf('PK\x01\x02') + 32, 0xffff, true);
    await expect(openBytes(bytes)).rejects.toThrow(/table of contents is not valid at byte \d+/);
  });

  it('refuses a legacy storage of another length', async () => {
    const bytes = fixtureBytes('pt/legacy.pt');
    const { a } = Object.fromEntries((await openTorchFile(files, 'pt/legacy.pt')).tensors);
    bytes[a!.location!.offset - 8] = 5;
    await expect(openBytes(bytes)).rejects.toThrow(/got 5 elements, expected \d+/);
  });

  it('throws if the file changed after it was opened', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'open-torch-file-'));
    const path = join(folder, 'x.pt');
    await writeFile(path, torchZipOf(one([2], [1]), { 0: numbers }));
    const { tensors } = await openTorchFile(directory(folder), 'x.pt');
    await writeFile(path, '');
    await expect(tensors.get('x')!.read()).rejects.toThrow(
      /x\.pt' got 0 bytes, expected \d+: it changed after it was opened/,
    );
    await rm(folder, { recursive: true });
  });

  it('names the tensor whose integers do not fit int32', async () => {
    const bytes = torchZipOf(file(dict(text('big'), tensor(storage('LongStorage', '0', 1), 0, [1], [1]))), {
      0: new Uint8Array(BigInt64Array.of(2n ** 40n).buffer),
    });
    await expect(readAll(openBytes(bytes))).rejects.toThrow(
      /tensor 'big' of 'memory\/f' cannot be read: value 0 got 1099511627776, expected an integer between/,
    );
  });

  it('treats the key __proto__ as any other', async () => {
    const value = tensor(storage('FloatStorage', '0', 6), 0, [6], [1]);
    const { tensors } = await openBytes(
      torchZipOf(file(dict(text('__proto__'), dict(text('polluted'), value), text('constructor'), value)), {
        0: numbers,
      }),
    );
    expect([...tensors.keys()]).toEqual(['__proto__.polluted', 'constructor']);
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  });

  it('reads tensors of every allowed rebuild function and leaves out other objects', async () => {
    const { global, int, tuple } = pickled;
    const call = (module: string, name: string, ...args: Uint8Array[]) =>
      bytesOf(global(module, name), tuple(...args), 'R');
    const whole = tensor(storage('FloatStorage', '0', 6), 0, [6], [1]);
    const args = tuple(storage('FloatStorage', '0', 6), int(1), tuple(int(2)), tuple(int(2)));
    const untyped = tuple(text('storage'), global('torch.storage', 'UntypedStorage'), text('0'), text('cpu'), int(24));
    const value = dict(
      text('parameter'),
      call('torch._utils', '_rebuild_parameter_with_state', whole, bytesOf(0x88), bytesOf('}'), bytesOf('}')),
      text('subclass'),
      call(
        'torch._tensor',
        '_rebuild_from_type_v2',
        global('torch._utils', '_rebuild_tensor_v2'),
        global('torch', 'Tensor'),
        args,
        bytesOf('}'),
      ),
      text('uint16'),
      call(
        'torch._utils',
        '_rebuild_tensor_v3',
        bytesOf(untyped, 'Q'),
        int(2),
        tuple(int(2)),
        tuple(int(1)),
        bytesOf(0x89),
        bytesOf('}'),
        global('torch', 'uint16'),
      ),
      text('python 2'),
      call('collections', 'OrderedDict', bytesOf('](', tuple(text('w'), whole), 'e')),
      text('built'),
      bytesOf(call('collections', 'OrderedDict'), '}', text('_metadata'), whole, 'sb'),
      text('set'),
      call('__builtin__', 'set', bytesOf('](', whole, 'e')),
      text('scalar'),
      bytesOf(call('numpy.core.multiarray', 'scalar', global('numpy', 'dtype'), text('x')), '}b'),
      text('frozen'),
      bytesOf(0x8f, '(', int(1), 0x90),
      tuple(int(1), int(2)),
      whole,
      int(7),
      bytesOf('](', whole, bytesOf('N'), bytesOf(0x88), 'e'),
    );
    const opened = openBytes(torchZipOf(file(value), { 0: numbers }));
    const all = Float32Array.of(0, 1, 2, 3, 4, 5);
    expect(await readAll(opened)).toEqual(
      new Map<string, unknown>([
        ['parameter', all],
        ['subclass', Float32Array.of(1, 3)],
        ['uint16', Int32Array.of(0, 0x3f80)],
        ['python 2.w', all],
        ['7.0', all],
      ]),
    );
    expect([...(await opened).metadata]).toEqual([['7.2', true]]);
  });

  it.each([
    [
      'two data.pkl',
      zipOf([
        ['a/data.pkl', one([1], [1])],
        ['b/data.pkl', one([1], [1])],
      ]),
      /expected one file 'NAME\/data\.pkl'/,
    ],
    [
      'a file twice',
      zipOf([
        ['a/data.pkl', one([1], [1])],
        ['a/data.pkl', one([1], [1])],
      ]),
      /holds 'a\/data\.pkl' twice/,
    ],
    [
      'a TorchScript program',
      zipOf([
        ['a/data.pkl', one([1], [1])],
        ['a/constants.pkl', bytesOf()],
      ]),
      /is a TorchScript program/,
    ],
    [
      'big-endian numbers',
      zipOf([
        ['a/data.pkl', one([1], [1])],
        ['a/byteorder', bytesOf('big')],
      ]),
      /the byte order got 'big', expected 'little'/,
    ],
    [
      'a key that leads out of data',
      torchZipOf(file(dict(text('x'), tensor(storage('FloatStorage', '../data.pkl', 1), 0, [1], [1])))),
      /storage '\.\.\/data\.pkl' is not in the archive/,
    ],
    [
      'a terabyte of one repeated number',
      torchZipOf(one([2 ** 20, 2 ** 20], [0, 0]), { 0: numbers }),
      /got 1099511627776 elements that repeat the 6 of storage '0'/,
    ],
    [
      'negative strides',
      torchZipOf(one([2], [-1], 5), { 0: numbers }),
      new RegExp(
        'the pickle got a tensor of \\(a TorchStorage, 5, \\(2\\), a list of 1, .*' +
          'expected \\(storage, offset, shape, strides',
      ),
    ],
    [
      'more dimensions than torch has',
      torchZipOf(one(Array(65).fill(1), Array(65).fill(1)), { 0: numbers }),
      /expected \(storage, offset, shape, strides/,
    ],
    [
      'a storage that is longer than the pickle says',
      torchZipOf(one([1], [1]), { 0: bytesOf(numbers, 0) }),
      /storage '0' got 25 bytes, expected 24/,
    ],
    [
      'two tensors of one name',
      torchZipOf(
        file(
          dict(
            text('a.b'),
            tensor(storage('FloatStorage', '0', 6), 0, [1], [1]),
            text('a'),
            dict(text('b'), tensor(storage('FloatStorage', '0', 6), 0, [1], [1])),
          ),
        ),
        { 0: numbers },
      ),
      /holds two tensors called 'a\.b'/,
    ],
    [
      'a dict that holds itself',
      torchZipOf(file(bytesOf('}q', 0, '(', text('a'), 'h', 0, 'u')), {}),
      /more than 64 nested/,
    ],
    [
      'a name with control characters',
      torchZipOf(file(pickled.global('os\x1b[31m', 'system'))),
      /the name 'os\\u\{1b\}\[31m\.system'/,
    ],
  ])('refuses %s', async (_, bytes, message) => {
    await expect(readAll(openBytes(bytes))).rejects.toThrow(message);
  });

  it('refuses nested lists that would flatten to a million entries or to long names', async () => {
    const doubling = (levels: number) =>
      Array.from({ length: levels }, (_, i) => bytesOf('](h', i, 'h', i, 'eq', i + 1));
    await expect(openBytes(torchZipOf(file(bytesOf(']q', 0, ...doubling(40)))))).rejects.toThrow(
      /names got more than 67108864 characters/,
    );
    await expect(openBytes(torchZipOf(file(bytesOf(']q', 0, ...doubling(20)))))).rejects.toThrow(
      /value got more than 1048576 entries/,
    );
  });

  it('refuses a pickle of too many instructions', async () => {
    const bytes = torchZipOf(bytesOf(0x80, 2, new Uint8Array(2 ** 23).fill(0x4e), '.'), {}, { crc: () => 0 });
    await expect(openBytes(bytes)).rejects.toThrow(/more than 8388608 instructions/);
  });
});

describe('openTorchFile on arbitrary bytes', () => {
  const expectRefusedOrRead = async (bytes: Uint8Array) => {
    await readAll(openBytes(bytes)).catch((error: unknown) => expect(error).toBeInstanceOf(TorchFileError));
    expect(Object.keys(Object.prototype)).toEqual([]);
  };
  const seeds = [
    'pt/legacy.pt',
    'pt/nested.pth',
    'pt/deflated.pth',
    'pt/strided.pt',
    'pt/protocol4.pt',
    'malicious/whole-module.pt',
  ].map(fixtureBytes);
  // Without checksums, so that changes reach the parser.
  const withoutCrc = (pickle: Uint8Array) => torchZipOf(pickle, { 0: new Uint8Array(64) }, { crc: () => 0 });

  it('refuses random bytes', () =>
    fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), fc.constantFrom('', 'PK\x03\x04', '\x80'), (bytes, start) =>
        expectRefusedOrRead(bytesOf(Buffer.from(start, 'latin1'), bytes)),
      ),
      { numRuns: 300 },
    ));

  it('refuses or reads files with bytes changed, removed or inserted', () => {
    const change = fc.record({ at: fc.nat(), length: fc.nat(6), put: fc.uint8Array({ maxLength: 6 }) });
    const changed = fc
      .tuple(fc.constantFrom(...seeds), fc.array(change, { minLength: 1, maxLength: 4 }))
      .map(([seed, changes]) =>
        changes.reduce<Uint8Array>(
          (bytes, { at, length, put }) =>
            bytesOf(bytes.subarray(0, at % bytes.length), put, bytes.subarray((at % bytes.length) + length)),
          seed,
        ),
      );
    return fc.assert(fc.asyncProperty(changed, expectRefusedOrRead), { numRuns: 1000 });
  });

  it('refuses or reads files with fields of the archive and the pickle replaced by extreme numbers', () => {
    const extreme = fc.constantFrom(0, 1, 0x7f, 0x80, 0xff);
    const changed = fc
      .tuple(
        fc.constantFrom(...seeds),
        fc.array(fc.tuple(fc.nat(), fc.integer({ min: 1, max: 8 }), extreme), { minLength: 1, maxLength: 3 }),
      )
      .map(([seed, changes]) => {
        const bytes = seed.slice();
        for (const [at, length, value] of changes)
          bytes.fill(value, bytes.length - 1 - (at % bytes.length), bytes.length - 1 - (at % bytes.length) + length);
        return bytes;
      });
    return fc.assert(fc.asyncProperty(changed, expectRefusedOrRead), { numRuns: 1000 });
  });

  it('refuses or reads any sequence of instructions', () => {
    const { global, int, storage, tensor, text } = pickled;
    const pieces = [
      ...'N()]}t.0124lduaebRQosi'.split('').map((code) => bytesOf(code)),
      ...[0x81, 0x85, 0x86, 0x87, 0x88, 0x8f, 0x90, 0x91, 0x92, 0x93, 0x94].map((code) => bytesOf(code)),
      ...[0, 1, 2].flatMap((index) => [bytesOf('h', index), bytesOf('q', index)]),
      int(-1),
      int(3),
      text('0'),
      text('storage'),
      bytesOf(0x8a, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9),
      bytesOf('G', new Uint8Array(8).fill(0xff)),
      global('collections', 'OrderedDict'),
      global('torch', 'Size'),
      global('torch', 'FloatStorage'),
      global('numpy', 'dtype'),
      ...['_rebuild_tensor_v2', '_rebuild_tensor_v3', '_rebuild_parameter'].map((name) => global('torch._utils', name)),
      global('torch._tensor', '_rebuild_from_type_v2'),
      storage('FloatStorage', '0', 16),
      storage('HalfStorage', '0', 32),
      tensor(storage('FloatStorage', '0', 16), 1, [3, 2], [4, 1]),
    ];
    const program = fc
      .array(fc.constantFrom(...pieces), { maxLength: 60 })
      .map((parts) => withoutCrc(pickled.file(bytesOf(...parts))));
    return fc.assert(fc.asyncProperty(program, expectRefusedOrRead), { numRuns: 2000 });
  });
});

describe('openTorchFile, legacy files', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'open-torch-file-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  it('reads pickles that are longer than the first read', async () => {
    const { dict, int, storage, tensor, text } = pickled;
    const magic = bytesOf(0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, '.');
    const machine = pickled.file(dict(text('little_endian'), bytesOf(0x88)));
    const value = pickled.file(
      dict(text('note'), text('x'.repeat(3_000_000)), text('w'), tensor(storage('FloatStorage', 'k', 2), 0, [2], [1])),
    );
    const keys = pickled.file(bytesOf('](', text('k'), 'e'));
    const data = bytesOf(2, new Uint8Array(7), new Uint8Array(Float32Array.of(1.5, -2).buffer));
    await writeFile(join(folder, 'long.pt'), bytesOf(magic, pickled.file(int(1001)), machine, value, keys, data));
    const { tensors, metadata } = await openTorchFile(directory(folder), 'long.pt');
    expect(await tensors.get('w')!.read()).toEqual(Float32Array.of(1.5, -2));
    expect(metadata.get('note')).toHaveLength(3_000_000);
  });
});
