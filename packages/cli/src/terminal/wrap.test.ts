import { describe, expect, it } from 'vitest';
import { wrapped } from './wrap.js';

describe('wrapped', () => {
  const text = `warning: ${'a prompt is too long for the text encoder '.repeat(5)}`.trim();

  it.each([60, 80, 110])('breaks a text at spaces to fit in %i columns', (columns) => {
    const lines = wrapped(text, columns).split('\n');
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(columns);
    expect(lines.length).toBeGreaterThan(1);
    expect(lines.join(' ')).toBe(text);
  });

  it('leaves commands whole, and everything where there is no terminal', () => {
    const command = `Continue with:\n  alignprop resume ${'x'.repeat(80)} --num-epochs 20`;
    expect(wrapped(command, 60)).toBe(command);
    expect(wrapped(text, undefined)).toBe(text);
  });
});
