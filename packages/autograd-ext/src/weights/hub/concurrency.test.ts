import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runProgram } from '../../../../../fixtures/run-program.js';
import { thisProcess, type ProcessIdentity } from '../files/process-identity.js';
import { etag, files, large, read, sha256, useFaultyHub, weights } from './__fixtures__/faulty-hub.js';

const mock = useFaultyHub();
const paths = Object.keys(files);
const digest = paths.reduce((hash, path) => hash.update(files[path]!), createHash('sha256')).digest('hex');

describe('loads at once', () => {
  it('download each file once in one process', async () => {
    const sources = Array.from({ length: 6 }, () => mock().open());
    const all = await Promise.all(sources.flatMap((source) => [read(source, large), read(source, 'config.json')]));
    expect(all.filter((data) => sha256(data) === etag)).toHaveLength(6);
    expect(mock().ranges).toEqual([undefined]);
    expect(mock().requests.filter((line) => /^GET .*\/resolve\/\w+\/config\.json/.test(line))).toHaveLength(1);
    expect((await readdir(mock().inCache('blobs'))).filter((name) => name.includes('incomplete'))).toEqual([]);
    expect(await readdir(join(mock().cacheDir, '.locks/models--org--name'))).toEqual([]);
  });

  it('go on in another load when one is aborted', async () => {
    const controller = new AbortController();
    let onStall = () => {};
    const stall = new Promise<void>((resolve) => (onStall = resolve));
    let stalls = 1;
    mock().misbehave = (request) => {
      const isStall = request.url!.startsWith('/store/') && stalls-- > 0;
      if (isStall) onStall();
      return isStall;
    };
    const aborted = read(mock().open({ signal: controller.signal }), large);
    await stall;
    const other = read(mock().open(), large);
    controller.abort(new Error('enough'));
    await expect(aborted).rejects.toThrow('enough');
    expect(sha256(await other)).toBe(etag);
  });

  it('write to a file of their own where a lock is impossible', async () => {
    await writeFile(join(mock().cacheDir, '.locks'), '');
    const all = await Promise.all([1, 2, 3].map(() => read(mock().open(), large)));
    expect(all.map(sha256)).toEqual([etag, etag, etag]);
    expect(mock().ranges).toEqual([undefined, undefined, undefined]);
    expect(await readdir(mock().inCache('blobs'))).toEqual([etag]);
  });

  /** Leaves the file of a process and its lock, whose last heartbeat was some seconds ago. */
  async function leaveDownload(owner: ProcessIdentity, secondsAgo: number): Promise<void> {
    const lock = join(mock().cacheDir, `.locks/models--org--name/${etag}.alignprop.lock`);
    await mkdir(lock, { recursive: true });
    const file = join(lock, 'owner.json');
    await writeFile(file, JSON.stringify({ ...owner, since: new Date().toISOString(), beat: 5 }));
    const time = new Date(Date.now() - 1000 * secondsAgo);
    await utimes(file, time, time);
    await mkdir(mock().inCache('blobs'), { recursive: true });
    await writeFile(mock().inCache(`blobs/${etag}.alignprop.incomplete`), weights.subarray(0, 100_000));
  }

  it.each([
    ['of another machine', { host: 'far-away' }],
    ['that is stopped', {}],
  ])('leave the file of a process alone %s, and has been silent for minutes', async (_, changes) => {
    await leaveDownload({ ...(await thisProcess()), ...changes }, 300);
    expect(sha256(await read(mock().open(), large))).toBe(etag);
    expect(mock().ranges).toEqual([undefined]);
    expect(await readdir(mock().inCache('blobs'))).toEqual([etag, `${etag}.alignprop.incomplete`]);
  });

  it('wait for a process of another machine while it has heartbeats', async () => {
    await leaveDownload({ ...(await thisProcess()), host: 'far-away' }, 0);
    const load = read(mock().open(), large);
    await new Promise((resolve) => setTimeout(resolve, 1500));
    expect(mock().ranges).toEqual([]);
    await rm(mock().inCache(`blobs/${etag}.alignprop.incomplete`));
    await writeFile(mock().inCache(`blobs/${etag}`), weights);
    expect(sha256(await load)).toBe(etag);
    expect(mock().ranges).toEqual([]);
  });

  it('resume what a process left that was killed', async () => {
    await leaveDownload({ ...(await thisProcess()), pid: 2 ** 22 + 1 }, 0);
    expect(sha256(await read(mock().open(), large))).toBe(etag);
    expect(mock().ranges).toEqual(['bytes=100000-']);
  });
});

describe('processes', () => {
  let folder: string;
  let program: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'hub-program-'));
    program = join(folder, 'load-files.mjs');
    const entry = fileURLToPath(new URL('__fixtures__/load-files.ts', import.meta.url));
    const options = { outfile: program, bundle: true, external: ['undici'] };
    await build({ entryPoints: [entry], format: 'esm', platform: 'node', ...options });
  });
  afterAll(() => rm(folder, { recursive: true }));

  /**
   * Starts a process that loads the files twice at once as soon as it gets a message.
   * @param launcher a command that starts it, and its arguments
   */
  function start(launcher: readonly string[] = []): ChildProcess {
    const args = [process.execPath, program, mock().endpoint, mock().cacheDir, '2', ...paths];
    const [command, ...rest] = [...launcher, ...args];
    return spawn(command!, rest, { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] });
  }

  it('resume the download of a process that is killed while they wait for it', { timeout: 60_000 }, async () => {
    let onStall = () => {};
    const stall = new Promise<void>((resolve) => (onStall = resolve));
    let stalls = 1;
    mock().misbehave = (request, response) => {
      if (!request.url!.startsWith('/store/') || stalls-- < 1) return false;
      response.writeHead(200, { 'content-length': weights.length }).write(weights.subarray(0, 100_000), onStall);
      return true;
    };
    const killed = start();
    killed.send('start');
    await stall;
    const waiting = [start(), start()];
    waiting.forEach((child) => child.send('start'));
    const incomplete = mock().inCache(`blobs/${etag}.alignprop.incomplete`);
    while ((await stat(incomplete)).size < 100_000) await new Promise((resolve) => setTimeout(resolve, 20));
    killed.kill('SIGKILL');
    const outputs = await Promise.all(waiting.map((child) => text(child.stdout!)));
    expect(outputs).toEqual([`${digest}\n${digest}\n`, `${digest}\n${digest}\n`]);
    expect(mock().ranges).toEqual([undefined, 'bytes=100000-']);
    expect((await readdir(mock().inCache('blobs'))).filter((name) => name.includes('incomplete'))).toEqual([]);
  });

  it('say how much space is missing when the disk is full, and continue later', async () => {
    const args = [mock().endpoint, mock().cacheDir, '1', ...paths];
    const full = await runProgram(program, args, { isBundled: true, shell: 'ulimit -f 96;' }); // files of 96 kB
    expect(full.stderr).toMatch(
      /hub: cannot write '.*\.incomplete': EFBIG: .*, 0\.2 MB are missing\. Free space on the disk, .* HF_HUB_CACHE/,
    );
    expect((await runProgram(program, args, { isBundled: true })).stdout).toBe(`${digest}\n`);
    expect(mock().ranges).toEqual([undefined, `bytes=${96 * 1024}-`]);
  });

  // HUB_COLD_STARTS=100 is the long version.
  const rounds = Number(process.env.HUB_COLD_STARTS ?? 3);
  const container = ['unshare', '--map-root-user', '--uts', '--pid', '--fork', '--kill-child'];
  const launcher = spawnSync(container[0]!, [...container.slice(1), 'true']).status === 0 ? container : [];
  it(
    `at once download each file once: 4 processes, 2 of them in containers, ${rounds} times`,
    { timeout: 60_000 + 5000 * rounds },
    async () => {
      for (let round = 0; round < rounds; round++) {
        await rm(mock().cacheDir, { recursive: true });
        mock().requests.length = 0;
        const children = [start(), start(launcher), start(), start(launcher)];
        await Promise.all(children.map((child) => once(child, 'spawn')));
        children.forEach((child) => child.send('start'));
        const outputs = await Promise.all(children.map((child) => text(child.stdout!)));
        expect(outputs).toEqual(Array.from({ length: 4 }, () => `${digest}\n${digest}\n`));
        expect(mock().ranges).toEqual([undefined]);
        expect(await readdir(mock().inCache('blobs'))).toHaveLength(paths.length);
      }
    },
  );
});
