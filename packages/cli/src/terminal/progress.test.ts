import { afterEach, describe, expect, it, vi } from 'vitest';
import { clock, fittingText, startProgress } from './progress.js';

describe('clock', () => {
  it.each([
    [0, '0:00'],
    [41.2, '0:42'],
    [59.9, '1:00'],
    [723, '12:03'],
    [12000, '3:20:00'],
  ])('formats %d seconds as %s', (seconds, text) => expect(clock(seconds)).toBe(text));
});

describe('fittingText', () => {
  const details = 'reward -3.358, loss 3.358, grad 0.020, 10.0 s/step';
  it.each([
    [70, `${details}, 12:03 left`],
    [55, 'reward -3.358, loss 3.358, grad 0.020, 12:03 left'],
    [30, 'reward -3.358, 12:03 left'],
    [12, '12:03 left'],
    [3, ''],
  ])('in %i characters leaves out the last details first, and the remaining time last', (width, text) =>
    expect(fittingText(details, '12:03 left', width)).toBe(text),
  );
});

describe('startProgress', () => {
  afterEach(() => void vi.restoreAllMocks());

  it.each([60, 80, 110])('keeps the remaining time in a terminal of %i columns, and fits in it', (columns) => {
    const terminal = process.stderr as { isTTY?: boolean; columns?: number };
    const before = { isTTY: terminal.isTTY, columns: terminal.columns };
    Object.assign(terminal, { isTTY: true, columns });
    const write = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    vi.spyOn(performance, 'now').mockReturnValue(20_000);
    try {
      const progress = startProgress('Epoch', 100, { started: 0 });
      progress.update(40, 'reward -3.358, loss 3.358, grad 0.020, 10.0 s/step');
      progress.stop();
    } finally {
      Object.assign(terminal, before);
    }
    const drawn = write.mock.calls.map(([text]) => String(text)).filter((text) => text.includes('left'));
    expect(drawn.length).toBeGreaterThan(0);
    for (const line of drawn) {
      expect(line.trim()).toMatch(/^Epoch 40\/100 [█░]+ reward -3\.358, .*0:30 left$/);
      expect(line.trim().length).toBeLessThanOrEqual(columns);
    }
  });

  it('writes one line a step without a terminal, and estimates the time from the steps of this run', () => {
    const write = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    vi.spyOn(performance, 'now').mockReturnValue(20_000);
    const progress = startProgress('Training', 10, { from: 6, started: 0 });
    progress.update(8, 'reward 1.0');
    progress.update(10);
    progress.stop();
    expect(write.mock.calls.map(([text]) => text)).toEqual([
      'Training 8/10 reward 1.0, 0:20 left\n',
      'Training 10/10\n',
    ]);
  });
});
