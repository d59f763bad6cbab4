// Ctrl-C in a terminal: what is on the screen afterwards.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { bundleCommand } from '../../../fixtures/bundle-command.js';
import { hasPseudoTerminal, runInTerminal } from '../../../fixtures/run-in-terminal.js';
import { temporaryFolder } from '../../../fixtures/temporary-folder.js';

const ctrlC = '\x03';

describe.runIf(hasPseudoTerminal('interrupted-training.test.ts'))('Ctrl-C in a terminal', () => {
  const folder = temporaryFolder();
  const programFolder = temporaryFolder();
  let program: string;
  beforeAll(async () => void (program = await bundleCommand(programFolder)));

  const train = (output: string, columns: number, keys: readonly (readonly [RegExp, string])[]) => {
    const flags =
      '--num-epochs 1000 --sample-num-steps 2 --truncated-rand-backprop-minmax 0 1 --sample-guidance-scale 1 ' +
      '--train-batch-size 1 --height 32 --width 32';
    const command = [process.execPath, program, 'train', '--output-dir', output, ...flags.split(' ')];
    return runInTerminal(command, { columns, cwd: folder, keys });
  };

  it('puts each message on lines of its own in place of the bar, and leaves the terminal as it was', async () => {
    const columns = 60;
    const screen = await train('once', columns, [[/Epoch [1-9]\d*\/1000.*left/, ctrlC]]);
    expect(screen).toMatchObject({ code: 130, isCursorVisible: true, isWrapping: true });
    const at = screen.lines.indexOf('Stopping after a checkpoint is written. Press Ctrl-C again');
    expect(screen.lines.slice(at)).toEqual([
      'Stopping after a checkpoint is written. Press Ctrl-C again',
      'to stop at once.',
      ...screen.lines.slice(at + 2, -3).filter((line) => /^Epoch \d+\/1000 [█░]+ .*left$/.test(line)),
      expect.stringMatching(/^warning: stopped after step \d+ of 1000\. Continue with:$/) as string,
      '  alignprop resume once',
      '',
    ]);
    expect(screen.lines.slice(0, at).filter((line) => line.includes('█') || line.includes('░'))).toEqual([]);
    expect(Math.max(...screen.lines.map((line) => line.length))).toBeLessThanOrEqual(columns);
    expect(screen.cursor).toEqual([screen.lines.length - 1, 0]);
    expect(readdirSync(join(folder, 'once/checkpoints'))).not.toEqual([]);
  });

  it('stops at once when it comes twice, with the terminal as it was', async () => {
    const screen = await train('twice', 110, [
      [/Epoch [1-9]\d*\/1000.*left/, ctrlC],
      [/Stopping after a checkpoint is written\. Press Ctrl-C again to stop at once\./, ctrlC],
    ]);
    expect(screen).toMatchObject({ code: 130, isCursorVisible: true, isWrapping: true });
    expect(screen.lines.join('\n')).not.toContain('Continue with');
    expect(screen.lines.filter((line) => line.startsWith('Stopping'))).toEqual([
      'Stopping after a checkpoint is written. Press Ctrl-C again to stop at once.',
    ]);
  });
});
