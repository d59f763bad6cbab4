import { describe, expect, it } from 'vitest';
import { compareFolderMap } from './folder-map.js';
import { findWords } from './forbidden-words.js';
import { findAddresses } from './lockfile.js';

const page = (...rows: string[]) =>
  ['# Architecture', 'packages/a/src/prose: not in a fence', '```', ...rows, '```', 'more'].join('\n');

describe('compareFolderMap', () => {
  it('returns nothing when map and folders agree', () => {
    expect(
      compareFolderMap(page('packages/a/src/x: does x', '  packages/b/src: does y'), [
        'packages/a/src/x',
        'packages/b/src',
      ]),
    ).toEqual([]);
  });

  it.each([
    ['a folder without a row', [], 'is not in the map of folders'],
    [
      'a row without a folder',
      ['packages/a/src/x: does x', 'packages/a/src/gone: did something'],
      'gone is in the map of folders but holds no sources',
    ],
    ['two rows for a folder', ['packages/a/src/x: does x', 'packages/a/src/x: does x'], 'twice'],
    ['a row without a description', ['packages/a/src/x'], 'no description'],
    ['a row with an empty description', ['packages/a/src/x: '], 'no description'],
  ])('reports %s', (_, rows, message) => {
    expect(compareFolderMap(page(...rows), ['packages/a/src/x'])).toEqual([expect.stringContaining(message)]);
  });
});

describe('findAddresses', () => {
  it('reports addresses and accepts workspace links', () => {
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
  it('reports file, line and word, ignoring case', () => {
    expect(findWords('x.md', 'fine\nA Secret thing', ['secret'])).toEqual(["x.md:2: mentions 'secret'."]);
    expect(findWords('x.md', 'fine', ['secret'])).toEqual([]);
  });
});
