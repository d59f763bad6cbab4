import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, it } from 'vitest';

const sources = ['--conditions=@alignprop/source', '--import', import.meta.resolve('tsx')];

/**
 * Work that hears of the signal and goes on for `ms`; its process is sent signals as it says that it is ready for them.
 */
async function interrupt(
  ms: number,
  ...signals: NodeJS.Signals[]
): Promise<{ code: number | null; signal: NodeJS.Signals | null; said: string }> {
  const program = `
    import { interruptible } from ${JSON.stringify(new URL('interrupt.ts', import.meta.url).href)};
    import { exitCode } from ${JSON.stringify(new URL('errors.ts', import.meta.url).href)};
    const work = (signal) => new Promise((_, reject) => {
      const late = setTimeout(() => reject(new Error('too late')), 60_000);
      signal.addEventListener('abort', () => setTimeout(() => { clearTimeout(late); reject(signal.reason); }, ${ms}));
      console.log('ready');
    });
    process.exitCode = await interruptible(work, () => console.log('ready')).catch(exitCode);`;
  const child = spawn(process.execPath, [...sources, '--input-type=module', '--eval', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  child.stdout.on('data', (data: Buffer) => {
    said += data.toString();
    const next = signals[said.split('ready').length - 2];
    if (next) child.kill(next);
  });
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  return { code, signal, said };
}

describe('interruptible', () => {
  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('lets the work end after %s', async (signal, code) => {
    expect(await interrupt(10, signal)).toEqual({ code, signal: null, said: 'ready\nready\n' });
  });

  it('ends at once after a second Ctrl-C', async () => {
    expect(await interrupt(60_000, 'SIGINT', 'SIGINT')).toEqual({
      code: null,
      signal: 'SIGINT',
      said: 'ready\nready\n',
    });
  });
});
