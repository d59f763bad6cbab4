import { describe, expect, it } from 'vitest';
import { bytesOf, pickled } from './__fixtures__/torch-files.js';
import { PickleCutOff } from './pickle-reader.js';
import { Placeholder, unpickle, type PickleMeaning } from './pickle.js';
import { TorchFileError } from './torch-file-error.js';

const { global, int, text, tuple } = pickled;

/** Returns its arguments, so that tests see them. */
const meaning: PickleMeaning = {
  global: (name) => (name === 'm.Ignored' ? new Placeholder(name) : { name }),
  call: (callee, args) => (callee instanceof Placeholder ? callee : { callee, args }),
  persistent: (id) => ({ id }),
};
const parse = (...parts: Parameters<typeof bytesOf>) => unpickle(bytesOf(...parts, '.'), 0, meaning).value;
const f = global('m', 'f');
const named = { name: 'm.f' };

describe('unpickle', () => {
  it.each<[string, unknown, ...Parameters<typeof bytesOf>]>([
    ['None and booleans', [null, true, false], tuple(bytesOf('N'), bytesOf(0x88), bytesOf(0x89))],
    [
      'integers',
      [255, 65535, -2, 2 ** 31 - 1],
      tuple(bytesOf('K', 255), bytesOf('M', 255, 255), int(0xfffffffe), int(0x7fffffff)),
    ],
    [
      'long integers',
      [0, -1, 255, -(2 ** 40), 2n ** 63n],
      tuple(
        bytesOf(0x8a, 0),
        bytesOf(0x8a, 1, 255),
        bytesOf(0x8a, 2, 255, 0),
        bytesOf(0x8b, 6, 0, 0, 0, 0, 0, 0, 0, 0, 255),
        bytesOf(0x8a, 9, 0, 0, 0, 0, 0, 0, 0, 128, 0),
      ),
    ],
    ['a float', -1.5, 'G', 0xbf, 0xf8, 0, 0, 0, 0, 0, 0],
    [
      'text',
      ['é', 'é', 'é', 'old', 'quoted'],
      tuple(
        text('é'),
        bytesOf(0x8c, 2, 'é'),
        bytesOf(0x8d, 2, new Uint8Array(7), 'é'),
        bytesOf('U', 3, 'old'),
        bytesOf('Squoted\n'),
      ),
    ],
    [
      'bytes',
      [bytesOf(1, 2), bytesOf(1, 2), bytesOf(1, 2)],
      tuple(bytesOf('C', 2, 1, 2), bytesOf('B', 2, 0, 0, 0, 1, 2), bytesOf(0x8e, 2, new Uint8Array(7), 1, 2)),
    ],
    [
      'tuples',
      [[], [null], [null, 1], [null, 1, 2]],
      tuple(bytesOf(')'), bytesOf('N', 0x85), bytesOf('NK', 1, 0x86), bytesOf('NK', 1, 'K', 2, 0x87)),
    ],
    ['lists', [[1], [1, 2], [3]], tuple(bytesOf(']K', 1, 'a'), bytesOf('](K', 1, 'K', 2, 'e'), bytesOf('(K', 3, 'l'))],
    [
      'dicts',
      [new Map([['a', 1]]), new Map([['a', 1]]), new Map([['a', 1]])],
      tuple(
        bytesOf('}', text('a'), 'K', 1, 's'),
        bytesOf('}(', text('a'), 'K', 1, 'u'),
        bytesOf('(', text('a'), 'K', 1, 'd'),
      ),
    ],
    ['sets', [new Set([1]), new Set([1])], tuple(bytesOf(0x8f, '(K', 1, 0x90), bytesOf('(K', 1, 0x91))],
    [
      'the memo',
      ['a', 'a', 'a', 'a'],
      tuple(bytesOf(text('a'), 'q', 0), bytesOf('h', 0), bytesOf('h', 0, 'r', 0, 1, 0, 0), bytesOf('j', 0, 1, 0, 0)),
    ],
    [
      'the memo without numbers',
      ['a', 'b', 'b'],
      tuple(bytesOf(text('a'), 0x94), bytesOf(text('b'), 0x94), bytesOf('h', 1)),
    ],
    [
      'the stack',
      [1, 1, 2],
      tuple(bytesOf('K', 1, '2'), bytesOf('K', 9, '0'), bytesOf('(K', 8, '1'), bytesOf('(0'), bytesOf('K', 2)),
    ],
    ['names', [named, named], tuple(f, bytesOf(text('m'), text('f'), 0x93))],
    [
      'calls',
      Array(5).fill({ callee: named, args: [1] }),
      tuple(
        bytesOf(f, 'K', 1, 0x85, 'R'),
        bytesOf(f, 'K', 1, 0x85, 0x81),
        bytesOf(f, 'K', 1, 0x85, '}', 0x92),
        bytesOf('(', f, 'K', 1, 'o'),
        bytesOf('(K', 1, 'im\nf\n'),
      ),
    ],
    ['a persistent id', { id: 'x' }, text('x'), 'Q'],
    ['attributes, and drops them', new Map(), '}', '}', text('x'), 'Nsb'],
    [
      'a placeholder, which ignores items and attributes',
      new Placeholder('m.Ignored'),
      global('m', 'Ignored'),
      ')RK',
      1,
      'a(K',
      1,
      'eNNs(NNu(N',
      0x90,
      'Nb',
    ],
    ['protocol and frames', 1, 0x80, 4, 0x95, new Uint8Array(8), 'K', 1],
  ])('reads %s', (_, expected, ...parts) => {
    expect(parse(...parts)).toEqual(expected);
  });

  it.each<[string, RegExp, ...Parameters<typeof bytesOf>]>([
    ['an empty stack', /got an empty stack/, ''],
    ['a stack that is empty since the mark', /got an empty stack/, 'N(a'],
    ['a mark that was not set', /got no mark/, 't'],
    ['a memo entry that was not set', /got memo entry 7/, 'h', 7],
    ['items of a list', /expected a dict and pairs/, ']NNs'],
    ['a key without a value', /expected a dict and pairs/, '}(Nu'],
    ['an append to a dict', /expected a list/, '}Na'],
    ['an addition to a list', /expected a set/, '](N', 0x90],
    ['a name that is no text', /expected text that names a class/, 'NN', 0x93],
    ['an extension', /extension code 258/, 0x83, 2, 1],
    ['an unknown instruction', /instruction 0xff at byte 1/, 'N', 0xff],
    ['a newer protocol', /protocol got 6, expected at most 5/, 0x80, 6],
    ['text that is not UTF-8', /text at byte 5 that is not UTF-8/, 'X', 1, 0, 0, 0, 0xff],
    ['an integer of many digits', /integer of 257 bytes/, 0x8b, 1, 1, 0, 0],
    ['bytes out of band', /instruction 0x97/, 0x97],
  ])('refuses %s', (_, message, ...parts) => {
    expect(() => parse(...parts)).toThrow(TorchFileError);
    expect(() => parse(...parts)).toThrow(message);
  });

  it('throws PickleCutOff for every beginning of a pickle', () => {
    const whole = bytesOf(0x80, 4, 0x95, new Uint8Array(8), '}(', text('key'), 'G', new Uint8Array(8), 'u', f, '0.');
    expect(unpickle(whole, 0, meaning).end).toBe(whole.length);
    for (let length = 0; length < whole.length; length++)
      expect(() => unpickle(whole.subarray(0, length), 0, meaning)).toThrow(PickleCutOff);
  });

  it('parses from a position and returns the position after the pickle', () => {
    expect(unpickle(bytesOf('xxK', 5, '.yy'), 2, meaning)).toEqual({ value: 5, end: 5 });
  });

  it('treats keys such as __proto__ as any other', () => {
    const dict = parse('}', text('__proto__'), '}', text('polluted'), 'K', 1, 'ss') as Map<string, unknown>;
    expect(dict).toEqual(new Map([['__proto__', new Map([['polluted', 1]])]]));
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  });

  it('reads long and deeply nested lists without overflowing the stack', () => {
    expect(parse('](', new Uint8Array(500_000).fill(0x4e), 'e')).toHaveLength(500_000);
    let depth = 0;
    for (
      let value = parse(new Uint8Array(200_000).fill(0x5d), new Uint8Array(199_999).fill(0x61)) as unknown[];
      value.length;
      value = value[0] as unknown[]
    )
      depth++;
    expect(depth).toBe(199_999);
  });
});
