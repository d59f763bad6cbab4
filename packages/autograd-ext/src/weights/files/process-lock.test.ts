import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { takeProcessLock, type LockOwner } from './process-lock.js';

let programs: string;
let program: string;
let folder: string;
let path: string;
const processes: LockProcess[] = [];

beforeAll(async () => {
  programs = await mkdtemp(join(tmpdir(), 'lock-program-'));
  program = join(programs, 'take-lock.mjs');
  const entry = fileURLToPath(new URL('__fixtures__/take-lock.ts', import.meta.url));
  await build({ entryPoints: [entry], outfile: program, bundle: true, format: 'esm', platform: 'node' });
  await chmod(programs, 0o755);
});
afterAll(() => rm(programs, { recursive: true }));
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lock-'));
  await chmod(folder, 0o777);
  path = join(folder, 'a.lock');
});
afterEach(async () => {
  await Promise.all(processes.splice(0).map((each) => each.kill()));
  await rm(folder, { recursive: true, force: true });
});

/** A process that takes the lock, started by `launcher`: a command and its arguments. */
class LockProcess {
  readonly child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(launcher: readonly string[] = []) {
    const [command, ...args] = [...launcher, process.execPath, program, path];
    this.child = spawn(command!, args, { stdio: ['pipe', 'pipe', 'inherit'], detached: true });
    this.#lines = createInterface(this.child.stdout!)[Symbol.asyncIterator]();
    processes.push(this);
  }

  /** The next value that the process prints. */
  async next(): Promise<unknown> {
    const { value } = (await this.#lines.next()) as { value?: string };
    return value === undefined ? 'ended' : JSON.parse(value);
  }

  ask(line: string): Promise<unknown> {
    this.child.stdin!.write(`${line}\n`);
    return this.next();
  }

  /** Sends a signal to the process and to its launcher. */
  signal(name: NodeJS.Signals): void {
    process.kill(-this.child.pid!, name);
  }

  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    this.signal('SIGKILL');
    await once(this.child, 'exit');
  }
}

const container = ['unshare', '--map-root-user', '--pid', '--fork', '--kill-child'];
const canUnshare = (...command: readonly string[]) =>
  spawnSync(command[0]!, [...command.slice(1), 'true']).status === 0;
const hasContainers = canUnshare(...container, '--mount-proc');
// As root, since another user is needed. The mount ends with its namespace.
const hidden = (user: string) => [
  ...['unshare', '--mount', 'sh', '-c', 'mount -t proc -o hidepid=2 proc /proc && exec "$@"', 'sh'],
  ...['setpriv', '--reuid', user, '--regid', user, '--clear-groups'],
];
const hasHidepid = canUnshare(...hidden('65534'));

/** Takes the lock in this process. */
async function take(): Promise<unknown> {
  const result = await takeProcessLock(path);
  if ('holder' in result) return result.holder;
  await result.lock.release();
  return 'taken';
}

/** The file of the lock. */
const ownerFile = async () =>
  join(
    path,
    (await readdir(path)).find((name) => name.endsWith('.json'))!,
  );

async function setHeartbeat(secondsAgo: number): Promise<void> {
  const time = new Date(Date.now() - 1000 * secondsAgo);
  await utimes(await ownerFile(), time, time);
}

/** Leaves the lock of a process that this one would be, but for some properties. */
async function leaveLock(changes: Partial<LockOwner>, secondsAgo = 0): Promise<void> {
  await rm(path, { recursive: true, force: true });
  const result = await takeProcessLock(path);
  if (!('lock' in result)) throw new Error('the lock is taken');
  const owner = JSON.parse(await readFile(await ownerFile(), 'utf8')) as LockOwner;
  await result.lock.release();
  await mkdir(path);
  await writeFile(join(path, 'another.json'), JSON.stringify({ ...owner, ...changes }));
  await setHeartbeat(secondsAgo);
}

/** The number of a process that has ended. */
function gonePid(): number {
  return spawnSync(process.execPath, ['--version']).pid;
}

describe('the lock of a process', () => {
  it('is free at once when the process on this machine is killed', { timeout: 30_000 }, async () => {
    const owner = new LockProcess();
    expect(await owner.next()).toEqual({ lock: 'taken' });
    expect(await take()).toMatchObject({ owner: { pid: owner.child.pid }, silence: expect.any(Number) });
    await owner.kill();
    const next = new LockProcess();
    expect(await next.next()).toEqual({ lock: 'taken', stale: { pid: owner.child.pid } });
    expect(await next.ask('held')).toBe(true);
    next.child.stdin!.write('end\n');
    await once(next.child, 'exit');
    expect(await readdir(folder)).toEqual([]);
  });

  it('has heartbeats while the event loop of its process is blocked', async () => {
    const owner = new LockProcess();
    await owner.next();
    await setHeartbeat(1000);
    expect(await owner.ask('block')).toBe('unblocked');
    const { mtimeMs } = await stat(await ownerFile());
    expect(Date.now() - mtimeMs).toBeLessThan(10_000);
    expect(await owner.ask('held')).toBe(true);
  }, 30_000);

  it.each(['SIGTERM', 'SIGINT'] as const)('does not keep its process from ending by %s', async (signal) => {
    const owner = new LockProcess();
    await owner.next();
    owner.signal(signal);
    expect(await once(owner.child, 'exit')).toEqual([null, signal]);
  });

  it.runIf(process.platform === 'linux').each([
    ['another start of this machine, or a clone', { boot: 'another' }],
    ['another machine', { host: 'far-away' }],
    ['a container', { namespaces: 'pid:[1]' }],
    ['a clone of this machine', { machine: 'another' }],
    ['a system without /proc', { boot: undefined, namespaces: undefined, began: undefined }],
  ])('stays with a process of %s, although its number is that of no process here', async (_, changes) => {
    await leaveLock({ pid: gonePid(), ...changes }, 60);
    const holder = (await take()) as { silence: number };
    expect(holder).toMatchObject({ state: 'unseen' });
    expect(holder.silence).toBeGreaterThan(55);
    await leaveLock({ pid: gonePid(), ...changes, beat: undefined }, 10_000);
    expect(await take()).toMatchObject({ state: 'unseen' });
  });

  it('stays with a process that cannot be told from another one of its number, however silent', async () => {
    await leaveLock({ began: undefined }, 10_000);
    expect(await take()).toMatchObject({ state: 'unverified' });
  });

  it('is taken from an unseen process that has been silent for minutes, after 12 s without a heartbeat', async () => {
    await leaveLock({ host: 'far-away' }, 300);
    const start = performance.now();
    const result = await takeProcessLock(path);
    expect(performance.now() - start).toBeGreaterThan(11_000);
    expect(result).toMatchObject({ lock: { previousMayWake: true } });
    // A later owner that is gone for sure does not make the first one gone.
    const owner = JSON.parse(await readFile(await ownerFile(), 'utf8')) as LockOwner;
    if ('lock' in result) await result.lock.release();
    await leaveLock({ ...owner, pid: gonePid() });
    expect(await takeProcessLock(path)).toMatchObject({ lock: { previousMayWake: true } });
  }, 30_000);

  it('is not taken over while the owner is watched and the signal is aborted', async () => {
    await leaveLock({ host: 'far-away' }, 300);
    const reason = new Error('enough');
    await expect(takeProcessLock(path, { signal: AbortSignal.abort(reason) })).rejects.toMatchObject({ cause: reason });
    expect(await readdir(folder)).toEqual(['a.lock']);
  });

  it('is no lock if its folder cannot be read', async () => {
    await writeFile(path, '');
    await expect(takeProcessLock(path)).rejects.toThrow(/ENOTDIR/);
  });
});

describe.runIf(hasContainers)('the lock of a process in a container with the name of this host', () => {
  it('stays with it, also when its clock is behind, until it is killed and silent', async () => {
    const owner = new LockProcess([...container, '--mount-proc']);
    expect(await owner.next()).toEqual({ lock: 'taken' });
    expect(await take()).toMatchObject({ owner: { pid: expect.any(Number) }, state: 'unseen' });
    await setHeartbeat(1000); // the next beat refutes it
    expect(await take()).toMatchObject({ state: 'unseen' });
    await owner.kill();
    expect(await take()).toMatchObject({ state: 'unseen' });
    await setHeartbeat(130);
    expect(await take()).toBe('taken');
  }, 60_000);

  it('is lost by a process that is stopped for minutes, which notices', async () => {
    const owner = new LockProcess([...container, '--mount-proc']);
    await owner.next();
    owner.signal('SIGSTOP');
    await setHeartbeat(130);
    const next = new LockProcess();
    expect(await next.next()).toMatchObject({ lock: 'previous may wake', stale: { silence: expect.any(Number) } });
    owner.signal('SIGCONT');
    expect(await owner.ask('held')).toBe(false);
    owner.child.stdin!.write('end\n');
    await once(owner.child, 'exit');
    expect(await next.ask('held')).toBe(true);
  }, 60_000);

  it('stays with a process here, as seen from the container, with its own /proc and without', async () => {
    const owner = new LockProcess();
    await owner.next();
    for (const launcher of [container, [...container, '--mount-proc'], ['unshare', '--map-root-user', '--uts']]) {
      const other = new LockProcess(launcher.includes('--uts') ? [...launcher, ...renamed] : launcher);
      expect(await other.next()).toMatchObject({ owner: { pid: owner.child.pid }, state: 'unseen' });
    }
    expect(await owner.ask('held')).toBe(true);
  }, 30_000);
  const renamed = ['sh', '-c', 'hostname elsewhere && exec "$@"', 'sh'];

  it('is free at once for a process in the same container, which sees the /proc of the host', async () => {
    const inside = ['sh', '-c', `"$@" & until [ -d ${path} ]; do sleep 0.1; done; kill -9 $!; wait; exec "$@"`, 'sh'];
    const both = new LockProcess([...container, ...inside]);
    const lines = [await both.next(), await both.next()];
    expect(lines).toContainEqual({ lock: 'taken', stale: { pid: expect.any(Number) } });
  }, 30_000);
});

describe.runIf(hasHidepid)('the lock of a process that /proc hides', () => {
  it('stays with it while it runs, and is free when it has ended', async () => {
    const owner = new LockProcess();
    await owner.next();
    expect(await new LockProcess(hidden('65534')).next()).toMatchObject({ state: 'unverified' });
    await owner.kill();
    await rm(path, { recursive: true }); // another user cannot remove the file of this one
    const [first, second] = [new LockProcess(hidden('65534')), new LockProcess(hidden('65533'))];
    const outcomes = await Promise.all([first.next(), second.next()]);
    expect(outcomes).toContainEqual({ lock: 'taken' });
    expect(outcomes).toContainEqual(expect.objectContaining({ state: 'unverified' }));
  }, 30_000);
});
