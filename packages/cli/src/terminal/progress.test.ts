import { afterEach, describe, expect, it, vi } from 'vitest';
import { terminalScreen } from '../../../../fixtures/terminal-screen.js';
import { Output } from './output.js';
import { clock, fittingLine, startProgress } from './progress.js';

describe('clock', () => {
  it.each([
    [0, '0:00'],
    [41.2, '0:42'],
    [59.9, '1:00'],
    [723, '12:03'],
    [12000, '3:20:00'],
  ])('formats %d seconds as %s', (seconds, text) => expect(clock(seconds)).toBe(text));
});

describe('fittingLine', () => {
  const details = 'reward -3.358, loss 3.358, grad 0.020, 10.0 s/step';
  const bar = '██░░░';
  it.each([
    [110, `Epoch 40/100 ████████░░░░░░░░░░░░ ${details}, 0:30 left`],
    [82, `Epoch 40/100 ${bar} ${details}, 0:30 left`],
    [60, `Epoch 40/100 ${bar} reward -3.358, loss 3.358, 0:30 left`],
    [40, `Epoch 40/100 ${bar} 0:30 left`],
    [28, 'Epoch 40/100 0:30 left'],
    [20, 'Epoch 40/100'],
    [8, 'Epoch 4'],
  ])('leaves out in %i columns the last details first, then the bar, and the remaining time last', (columns, line) => {
    expect(fittingLine({ count: 'Epoch 40/100', share: 0.4, details, left: '0:30 left' }, columns)).toBe(line);
  });
});

describe('startProgress', () => {
  const terminal = process.stderr as { isTTY?: boolean; columns?: number };
  const before = { isTTY: terminal.isTTY, columns: terminal.columns };
  afterEach(() => {
    Object.assign(terminal, before);
    vi.restoreAllMocks();
  });

  it.each([60, 80, 110])('draws over its line in %i columns, and ends it', (columns) => {
    Object.assign(terminal, { isTTY: true, columns });
    const write = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    const now = vi.spyOn(performance, 'now').mockReturnValue(20_000);
    const progress = startProgress('Epoch', 100, { started: 0 });
    progress.update(40, 'reward -3.358, loss 3.358, grad 0.020, 10.0 s/step');
    now.mockReturnValue(20_490);
    progress.update(41, 'reward -3.358');
    progress.stop();
    progress.stop();
    const screen = terminalScreen(write.mock.calls.map(([text]) => String(text)).join(''), columns);
    expect(screen.lines).toEqual([expect.stringMatching(/^Epoch 41\/100 [█░]+ reward -3\.358, 0:29 left$/), '']);
    expect(screen).toMatchObject({ cursor: [1, 0], isCursorVisible: true, isWrapping: true });
  });

  it('is erased for a message, and drawn again below it', () => {
    Object.assign(terminal, { isTTY: true, columns: 40 });
    const write = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    const output = new Output();
    const progress = output.progress('Epoch', 3);
    progress.update(1, 'reward -3.358');
    output.warn('the reward of 2 images is not a number: they are left out');
    progress.update(2);
    output.info('Stopping.');
    progress.stop();
    output.info('Done.');
    const screen = terminalScreen(write.mock.calls.map(([text]) => String(text)).join(''), 40);
    expect(screen.lines).toEqual([
      'warning: the reward of 2 images is not a',
      'number: they are left out',
      'Stopping.',
      'Done.',
      '',
    ]);
  });

  it('writes one line a step without a terminal, and leaves out of the remaining time the step that compiles', () => {
    const write = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    const now = vi.spyOn(performance, 'now');
    const progress = startProgress('Training', 10, { from: 6, started: 0 });
    for (const [done, time] of [
      [7, 20_000],
      [8, 22_000],
      [9, 26_000],
      [10, 28_000],
    ] as const) {
      now.mockReturnValue(time);
      progress.update(done, 'reward 1.0');
    }
    progress.stop();
    expect(write.mock.calls.map(([text]) => text)).toEqual([
      'Training 7/10 reward 1.0, under 1:00 left\n',
      'Training 8/10 reward 1.0, 0:04 left\n',
      'Training 9/10 reward 1.0, 0:03 left\n',
      'Training 10/10 reward 1.0\n',
    ]);
  });

  it('writes lines as rarely as the formatted count changes', () => {
    const write = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    const progress = startProgress('Generating', 4, { format: (count) => `${Math.floor(count / 2)}` });
    for (const step of [1, 2, 3, 4]) progress.update(step);
    expect(write.mock.calls.map(([text]) => String(text).replace(/ (under )?\S+ left/, ''))).toEqual([
      'Generating 1/2\n',
      'Generating 2/2\n',
    ]);
  });
});
