import { describe, expect, it } from 'vitest';
import { runProgram } from '../../../../fixtures/run-program.js';

/**
 * Runs interruptible work in a process of its own. The work ends `ms` milliseconds after the signal is aborted.
 * @param signals sent one after the other, each when the program prints 'ready'
 */
async function interrupt(ms: number, ...signals: NodeJS.Signals[]) {
  const program = `
    import { interruptible } from ${JSON.stringify(new URL('interrupt.ts', import.meta.url).href)};
    import { exitCode } from ${JSON.stringify(new URL('errors.ts', import.meta.url).href)};
    const work = (signal) => new Promise((_, reject) => {
      const late = setTimeout(() => reject(new Error('too late')), 60_000);
      signal.addEventListener('abort', () => setTimeout(() => { clearTimeout(late); reject(signal.reason); }, ${ms}));
      console.log('ready');
    });
    process.exitCode = await interruptible(work, () => console.log('ready')).catch(exitCode);`;
  let sent = 0;
  const { code, signal, stdout } = await runProgram(['--input-type=module', '--eval', program], [], {
    onStdout: (text, child) => {
      const isReady = text.split('ready').length - 1 > sent;
      if (isReady && sent < signals.length) child.kill(signals[sent++]);
    },
  });
  return { code, signal, stdout };
}

describe('interruptible', () => {
  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)('lets the work end itself after %s', async (signal, code) => {
    expect(await interrupt(10, signal)).toEqual({ code, signal: null, stdout: 'ready\nready\n' });
  });

  it('ends the process at once after a second Ctrl-C', async () => {
    expect(await interrupt(60_000, 'SIGINT', 'SIGINT')).toEqual({
      code: null,
      signal: 'SIGINT',
      stdout: 'ready\nready\n',
    });
  });
});
