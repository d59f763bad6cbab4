import { describe, expect, it } from 'vitest';
import { compilePattern, compileWholePattern } from './python-pattern.js';

const paths = [
  'mid_block.attentions.0.transformer_blocks.0.attn1.to_q',
  'down_blocks.10.attn1.to_out.0',
  'to_q',
  'xto_q',
];

// Whether Python's re.match(r"(.*\.)?(KEY)$", path) finds each path (Python 3.11).
const expected: readonly (readonly [key: string, matches: string])[] = [
  ['to_q', '1010'],
  ['^to_q', '0010'],
  ['attn1.to_q', '1000'],
  ['attn1\\.to_q', '1000'],
  ['^mid_block\\..*to_(q|k)', '1000'],
  ['^mid_block.*to_q$', '1000'],
  ['to_out\\.0', '0100'],
  ['^to_out\\.0', '0000'],
  ['down_blocks\\.\\d+\\.attn1\\.to_out\\.0', '0100'],
  ['down_blocks\\.(?:1|10)\\..*0', '0100'],
  ['(?P<side>mid|up)_block.*q', '1000'],
  ['\\A.*q\\Z', '1011'],
  ['[mt][^x]*q', '1010'],
  ['x?to_q', '1011'],
  ['(?!.*mid).*to_q', '1011'],
  ['(?=mid).*q', '1000'],
  ['(?<=attn1\\.)to_q', '1000'],
  ['.*(?<!attn1\\.)to_q', '0011'],
  ['(?<!attn1\\.)to_q', '0010'],
  ['t{1}o_q', '1010'],
  ['t{,2}o_q', '1010'],
  ['(a+)+$', '0000'],
  ['[]m]id.*q', '1000'],
  ['[^]m]o_q', '1010'],
  ['to_q|to_k', '1010'],
  ['(?#comment)to_q', '1010'],
  ['\\bto_q', '1010'],
  ['.*\\Bto_q', '0001'],
  ['to[-_.]q', '1010'],
  ['to\\_q', '1010'],
  ['to_[k-q]', '1010'],
  ['(to_)q', '1010'],
  ['..._q', '0001'],
  ['.', '0100'],
  ['', '0000'],
  ['(?:a|b|to_)*q', '1010'],
  ['to_q??', '1010'],
  ['(.*?)to_q', '1011'],
  ['mid_block\\.attentions\\.[0-9]{1,2}\\..*\\.to_q', '1000'],
];

describe('compilePattern', () => {
  it.each(expected)('matches the paths that Python matches with %j', (key, matches) => {
    const pattern = compilePattern(key);
    expect(paths.map((path) => Number(pattern(path))).join('')).toBe(matches);
  });

  it.each([
    ['(', 'an opening parenthesis without'],
    ['to_q)', 'a closing parenthesis without'],
    ['a**', 'a repeat of a repeat'],
    ['[a', 'no end'],
    ['(?P=x)', 'not read here'],
    ['\\1', 'a reference to a group'],
    ['(?i)to_q', 'not read here'],
    ['(?>a)', 'not read here'],
    ['a++', 'a possessive repeat'],
    ['(?(1)a|b)', 'not read here'],
    ['*a', 'a repeat of nothing'],
    ['a{3,1}', 'least count'],
    ['[z-a]', 'a range'],
    ['\\q', 'the escape \\q'],
    ['a\\', 'no end'],
    ['a'.repeat(2001) + '?', 'expected at most 2000'],
    ['('.repeat(200), 'nested groups'],
  ])('refuses %j', (key, message) => expect(() => compilePattern(key)).toThrow(message));

  it('answers at once to expressions that take exponential time by trial and error', () => {
    const path = `${'a'.repeat(200)}!`;
    const start = performance.now();
    for (const key of ['(a+)+b', '(a|a)*b', '(a|aa)+b', '(?:a{1,100}){1,100}b', '(.*a){20}b', '((a*)*)*b'])
      expect(compilePattern(key)(path)).toBe(false);
    expect(performance.now() - start).toBeLessThan(2000);
  });
});

describe('compileWholePattern', () => {
  it('matches whole paths only', () => {
    expect(paths.map(compileWholePattern('.*to_q'))).toEqual([true, false, true, true]);
    expect(paths.map(compileWholePattern('to_q'))).toEqual([false, false, true, false]);
  });
});
