import { existsSync, mkdirSync, readdirSync, utimesSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { bundleProgram } from '../../../../../../fixtures/bundle-program.js';
import { runProgram } from '../../../../../../fixtures/run-program.js';
import { temporaryFolder } from '../../../../../../fixtures/temporary-folder.js';
import { thisProcess } from '../../../weights/files/process-identity.js';
import { createTemporaryFolder } from './temporary-folder.js';

const root = temporaryFolder();
let module: string;
let tmp: string;
let count = 0;
beforeAll(async () => {
  module = await bundleProgram(fileURLToPath(new URL('temporary-folder.ts', import.meta.url)), join(root, 'bundle'));
});
beforeEach(() => {
  mkdirSync((tmp = join(root, `${count++}`)));
  vi.stubEnv('TMPDIR', tmp);
});
afterEach(() => void vi.unstubAllEnvs());

/** Runs a program that has a temporary folder. Returns how it ended and what it left. */
async function ended(code: string, signal?: NodeJS.Signals) {
  const program = `import { createTemporaryFolder } from ${JSON.stringify(module)};
    setInterval(() => {}, 1000);
    const folder = await createTemporaryFolder();
    ${code};
    console.log('started');`;
  const { code: status, signal: by } = await runProgram(['--input-type=module', '--eval', program], [], {
    env: { TMPDIR: tmp },
    isBundled: true,
    onStdout: (_, child) => {
      if (signal) child.kill(signal);
    },
  });
  return { status, by, left: readdirSync(tmp).length };
}

/** Writes a folder as a process of this description leaves it. */
function leave(name: string, owner: object | undefined, ageInHours: number): string {
  const path = join(tmp, `alignprop-weights-${name}`);
  mkdirSync(path);
  if (owner) writeFileSync(join(path, 'owner.json'), JSON.stringify(owner));
  const time = Date.now() / 1000 - ageInHours * 3600;
  utimesSync(path, time, time);
  return path;
}

describe('createTemporaryFolder', () => {
  it.each([
    ['exit', 'process.exit(3)', undefined, { status: 3, by: null }],
    ['an uncaught exception', "setTimeout(() => { throw new Error('x') })", undefined, { status: 1, by: null }],
    ['SIGTERM', '', 'SIGTERM', { status: null, by: 'SIGTERM' }],
    ['SIGINT with two folders', 'await createTemporaryFolder()', 'SIGINT', { status: null, by: 'SIGINT' }],
  ] as const)('deletes the folder at the end by %s, which stays as it is', async (_, code, signal, expected) => {
    expect(await ended(code, signal)).toEqual({ ...expected, left: 0 });
  });

  it('leaves a signal to a program that listens to it', async () => {
    const code = "process.on('SIGTERM', () => setTimeout(() => process.exit(folder.path ? 7 : 1), 50))";
    expect(await ended(code, 'SIGTERM')).toEqual({ status: 7, by: null, left: 0 });
  });

  it('leaves a signal to a program whose listener came before the folder, and removes itself', async () => {
    const code = `await folder.remove();
      process.once('SIGINT', () => setTimeout(() => process.exit(7), 50));
      await createTemporaryFolder()`;
    expect(await ended(code, 'SIGINT')).toEqual({ status: 7, by: null, left: 0 });
  });

  it('deletes what a killed process left, and nothing of processes that run', async () => {
    expect(await ended('', 'SIGKILL')).toEqual({ status: null, by: 'SIGKILL', left: 1 });
    const mine = await createTemporaryFolder();
    const other = await createTemporaryFolder();
    expect(readdirSync(tmp).sort()).toEqual([mine.path, other.path].map((path) => basename(path)).sort());
    await mine.remove();
    await other.remove();
    await other.remove();
    expect(readdirSync(tmp)).toEqual([]);
  });

  it('judges other folders by owner and age', async () => {
    const fresh = leave('fresh', undefined, 0.5);
    const old = leave('old', undefined, 2);
    const foreign = leave('foreign', { pid: 1, host: 'elsewhere' }, 24);
    const ancient = leave('ancient', { pid: 1, host: 'elsewhere' }, 24 * 31);
    const rebooted = leave('rebooted', { ...(await thisProcess()), boot: 'earlier' }, 24 * 31);
    const reused = leave('reused', { ...(await thisProcess()), began: 'earlier' }, 0);
    const { remove } = await createTemporaryFolder();
    await remove();
    const left = [fresh, old, foreign, ancient, rebooted, reused].map((path) => existsSync(path));
    expect(left).toEqual([true, false, true, false, false, process.platform !== 'linux']);
  });

  it('has no listeners when there is nothing to delete', async () => {
    // In a process of its own: engines of other tests may have folders in this one.
    const code = `await folder.remove();
      const listeners = () => ['exit', 'SIGINT', 'SIGTERM', 'SIGHUP'].map((event) => process.listenerCount(event));
      const before = listeners();
      const { remove } = await createTemporaryFolder();
      const during = listeners();
      await remove();
      const isRight = during.every((number, i) => number === before[i] + 1) && listeners().join() === before.join();
      process.exit(isRight ? 7 : 1)`;
    expect(await ended(code)).toEqual({ status: 7, by: null, left: 0 });
  });
});
