import { spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { runProgram } from '../../../../../fixtures/run-program.js';
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

  /** Leaves the lock and the file of a process of this machine that is gone, or of one of another machine. */
  async function leaveDownload(host: string): Promise<void> {
    const lock = join(mock().cacheDir, `.locks/models--org--name/${etag}.alignprop.lock`);
    await mkdir(lock, { recursive: true });
    const owner = { pid: 2 ** 22 + 1, host, since: new Date().toISOString() };
    await writeFile(join(lock, 'owner.json'), JSON.stringify(owner));
    await mkdir(mock().inCache('blobs'), { recursive: true });
    await writeFile(mock().inCache(`blobs/${etag}.alignprop.incomplete`), weights.subarray(0, 100_000));
  }

  it('wait for a process of another machine, and leave its file alone when it stops writing', async () => {
    await leaveDownload('far-away');
    let now = 0;
    vi.spyOn(performance, 'now').mockImplementation(() => (now += 10_000));
    expect(sha256(await read(mock().open(), large))).toBe(etag);
    expect(now).toBeGreaterThan(60_000);
    vi.restoreAllMocks();
    expect(mock().ranges).toEqual([undefined]);
    expect(await readdir(mock().inCache('blobs'))).toEqual([etag, `${etag}.alignprop.incomplete`]);
  });

  it('resume what a process left that was killed', async () => {
    await leaveDownload(hostname());
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

  /** Starts a process that loads the files twice at once as soon as it gets a message. */
  function start(): ChildProcess {
    const args = [program, mock().endpoint, mock().cacheDir, '2', ...paths];
    return spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] });
  }

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
  it(`at once download each file once: 4 processes, ${rounds} times`, { timeout: 20_000 + 3000 * rounds }, async () => {
    for (let round = 0; round < rounds; round++) {
      await rm(mock().cacheDir, { recursive: true });
      mock().requests.length = 0;
      const children = Array.from({ length: 4 }, start);
      await Promise.all(children.map((child) => once(child, 'spawn')));
      children.forEach((child) => child.send('start'));
      const outputs = await Promise.all(children.map((child) => text(child.stdout!)));
      expect(outputs).toEqual(Array.from({ length: 4 }, () => `${digest}\n${digest}\n`));
      expect(mock().ranges).toEqual([undefined]);
      expect(await readdir(mock().inCache('blobs'))).toHaveLength(paths.length);
    }
  });
});
