import { describe, expect, it } from 'vitest';
import { excerpt, excerptJson, excerptList, parseJson, readBody, record, table } from './index.js';

const inherited = ['__proto__', 'constructor', 'hasOwnProperty', 'toString', 'valueOf'];

describe('record and table', () => {
  it.each(inherited)('have no %s of their own, and take it as a key like any other', (name) => {
    expect(table({ a: 1 })[name]).toBeUndefined();
    const values = record<unknown>();
    expect(values[name]).toBeUndefined();
    values[name] = { polluted: 1 };
    expect(Object.keys(values)).toEqual([name]);
    expect(values.polluted).toBeUndefined();
    expect(record([[name, 2]])[name]).toBe(2);
  });
});

describe('parseJson', () => {
  it.each(inherited)('takes %s as a key like any other, at every level', (name) => {
    const value = parseJson(`{"${name}": {"a": [{}]}}`) as Record<string, Record<string, unknown[]>>;
    expect(Object.keys(value)).toEqual([name]);
    expect((value[name]!.a![0] as Record<string, unknown>)[name]).toBeUndefined();
    expect((value as Record<string, unknown>).a).toBeUndefined();
  });

  it('refuses more than 200 levels before it allocates them', () => {
    expect(parseJson(`${'['.repeat(200)}${']'.repeat(200)}`)).toHaveLength(1);
    expect(parseJson(JSON.stringify(['['.repeat(1000), '\\"{'.repeat(1000)]))).toHaveLength(2);
    const start = process.cpuUsage().user;
    for (const text of ['['.repeat(5e6), `${'{"a":'.repeat(201)}1${'}'.repeat(201)}`])
      expect(() => parseJson(text)).toThrow('nested in more than 200 levels');
    expect((process.cpuUsage().user - start) / 1e6).toBeLessThan(1);
  });
});

describe('excerpts', () => {
  it('quote at most a few characters, and none that steers a terminal', () => {
    expect(excerpt('a\x1b[2J\n\x9b\u202eb\ud800')).toBe(String.raw`a\u{1b}[2J\u{a}\u{9b}\u{202e}b\u{d800}`);
    expect(excerpt('x'.repeat(1e6))).toBe(`${'x'.repeat(120)}…`);
    expect(excerpt('🦀'.repeat(9), 5)).toBe('🦀🦀…');
    expect(excerpt('crab 🦀 猫')).toBe('crab 🦀 猫');
    const cyclic: unknown[] = [];
    cyclic.push(cyclic);
    expect([undefined, NaN, 1n, cyclic, record([['a', '\x1b']])].map((value) => excerptJson(value))).toEqual([
      'undefined',
      'NaN',
      '[object BigInt]',
      '[object Array]',
      String.raw`{"a":"\u001b"}`,
    ]);
    expect(excerptJson('x'.repeat(1e6)).length).toBe(121);
    expect(excerptList(Array.from({ length: 1e5 }, (_, i) => `${i}`))).toBe('0, 1, 2, 3, 4, 5, 6, 7, and 99992 more');
  });
});

describe('readBody', () => {
  it('reads text, and stops an answer without end', async () => {
    expect(await readBody(new Response('crab 🦀'), 9)).toBe('crab 🦀');
    expect(await readBody(new Response(null), 0)).toBe('');
    let pulled = 0;
    const endless = new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(1000 + pulled++)) });
    await expect(readBody(new Response(endless), 1e5)).rejects.toThrow('the answer got more than 100000 bytes');
    expect(pulled).toBeLessThan(105);
    await expect(readBody(new Response(Uint8Array.of(0xff)), 9)).rejects.toThrow();
  });
});
