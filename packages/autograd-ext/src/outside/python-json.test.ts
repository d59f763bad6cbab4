import { describe, expect, it } from 'vitest';
import { readJson } from '../weights/files/file-source.js';
import { memory } from '../weights/files/memory.js';
import { parsePythonJson } from './python-json.js';

describe('parsePythonJson', () => {
  it.each<[string, unknown]>([
    [
      '{"lambda_min_clipped": -Infinity, "b": [Infinity, NaN, -1.5e3]}',
      { lambda_min_clipped: -Infinity, b: [Infinity, NaN, -1500] },
    ],
    ['NaN', NaN],
    [
      String.raw`{"a": "-Infinity \" NaN", "NaN": Infinity, "b": "\\"}`,
      { a: '-Infinity " NaN', NaN: Infinity, b: '\\' },
    ],
    ['{"a": "Infinity"}', { a: 'Infinity' }],
  ])('reads %s as Python does', (text, expected) => expect(parsePythonJson(text)).toEqual(expected));

  it.each([
    '{"a": Infinite}',
    '{"a": +Infinity}',
    '{"a": nan}',
    '{"a": -NaN}',
    '{a: NaN}',
    '[NaN,]',
    '{"a": "NaN}',
    '',
  ])('refuses %s, as Python does', (text) => expect(() => parsePythonJson(text)).toThrow(SyntaxError));
});

describe('readJson', () => {
  it('reads what Python writes, and skips a byte order mark', async () => {
    const source = memory({ 'a.json': '{"a": -Infinity}', 'b.json': '\uFEFF{"b": 1}' });
    expect(await readJson(source, 'a.json')).toEqual({ a: -Infinity });
    expect(await readJson(source, 'b.json')).toEqual({ b: 1 });
  });
});
