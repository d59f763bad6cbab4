import { describe, expect, it } from 'vitest';
import { compareFileTable } from './file-table.js';
import { findWords } from './forbidden-words.js';
import { findAddresses } from './lockfile.js';

const page = (...rows: string[]) =>
  ['# Architecture', 'packages/a/src/prose.ts: not in a fence', '```', ...rows, '```', 'more'].join('\n');

describe('compareFileTable', () => {
  it('is content when table and files agree', () => {
    expect(
      compareFileTable(page('packages/a/src/x.ts: does x', '  packages/b/src/y.ts: does y'), [
        'packages/a/src/x.ts',
        'packages/b/src/y.ts',
      ]),
    ).toEqual([]);
  });

  it.each([
    ['a file without a row', [], 'is not in the file table'],
    [
      'a row without a file',
      ['packages/a/src/x.ts: does x', 'packages/a/src/gone.ts: did something'],
      'gone.ts is in the file table but does not exist',
    ],
    ['two rows for a file', ['packages/a/src/x.ts: does x', 'packages/a/src/x.ts: does x'], 'twice'],
    ['a row without a description', ['packages/a/src/x.ts'], 'no description'],
    ['a row with an empty description', ['packages/a/src/x.ts: '], 'no description'],
  ])('reports %s', (_, rows, message) => {
    expect(compareFileTable(page(...rows), ['packages/a/src/x.ts'])).toEqual([expect.stringContaining(message)]);
  });
});

describe('findAddresses', () => {
  it('lets workspace links pass and reports addresses', () => {
    const lockfile = JSON.stringify({
      packages: {
        'node_modules/@alignprop/lora': { resolved: 'packages/lora', link: true },
        'node_modules/a': { resolved: 'https://registry.example/a.tgz' },
        'node_modules/b': {},
      },
    });
    expect(findAddresses(lockfile)).toEqual([
      expect.stringContaining('node_modules/a got the address https://registry.example/a.tgz'),
    ]);
  });
});

describe('findWords', () => {
  it('reports file, line and word, whatever the case', () => {
    expect(findWords('x.md', 'fine\nA Secret thing', ['secret'])).toEqual(["x.md:2: mentions 'secret'."]);
    expect(findWords('x.md', 'fine', ['secret'])).toEqual([]);
  });
});
