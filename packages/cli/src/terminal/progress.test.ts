import { afterEach, describe, expect, it, vi } from 'vitest';
import { clock, startProgress } from './progress.js';

describe('clock', () => {
  it.each([
    [0, '0:00'],
    [41.2, '0:42'],
    [59.9, '1:00'],
    [723, '12:03'],
    [12000, '3:20:00'],
  ])('formats %d seconds as %s', (seconds, text) => expect(clock(seconds)).toBe(text));
});

describe('startProgress', () => {
  afterEach(() => void vi.restoreAllMocks());

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
