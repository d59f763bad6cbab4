import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { useBackend } from '@alignprop/autograd-ext';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { collect, tinyPipeline, tinyTrainer } from '../__fixtures__/tiny-run.js';
import { takeRunLock } from './lock.js';

let out: string;
const messages: string[] = [];
const logger = {
  info: (message: string) => void messages.push(message),
  warn: (message: string) => void messages.push(message),
};
const take = () => takeRunLock(out, logger);

beforeEach(async () => {
  out = await mkdtemp(join(tmpdir(), 'alignprop-'));
  messages.length = 0;
});
afterEach(() => rm(out, { recursive: true, force: true }));

/** The contents of a lock of this process. */
async function ownLock(): Promise<Record<string, unknown>> {
  const lock = await take();
  const [name] = await readdir(join(out, 'run.lock'));
  const owner = JSON.parse(await readFile(join(out, 'run.lock', name!), 'utf8')) as Record<string, unknown>;
  await lock.release();
  return owner;
}

/** Writes the lock of another process. */
async function leaveLock(owner: unknown): Promise<void> {
  await mkdir(join(out, 'run.lock'), { recursive: true });
  await writeFile(join(out, 'run.lock/another.json'), typeof owner === 'string' ? owner : JSON.stringify(owner));
}

/** A process that is gone. */
async function gonePid(): Promise<number> {
  const child = spawn(process.execPath, ['--version'], { stdio: 'ignore' });
  await once(child, 'close');
  return child.pid!;
}

describe('the lock of a run folder', () => {
  it('is held by one process at a time', async () => {
    const lock = await take();
    await expect(take()).rejects.toThrow(
      new RegExp(
        `^output_dir: .*run\\.lock is held by process ${process.pid} on '${hostname()}' since 20.*, ` +
          'last heartbeat \\d+ s ago, which is this one: another run trains there\\. ' +
          'Wait for it, end it, or choose another output_dir\\.$',
      ),
    );
    expect(await readdir(out)).toEqual(['run.lock']);
    await lock.release();
    await lock.release();
    expect(await readdir(out)).toEqual([]);
    const next = await take();
    await lock.release(); // the lock is another's by now
    await expect(take()).rejects.toThrow(/is held by/);
    await next.release();
  });

  it('goes to one of many processes that take it at once, also if a process that is gone left one', async () => {
    const owner = { ...(await ownLock()), pid: await gonePid() };
    for (const isStale of [false, true, true, true]) {
      if (isStale) await leaveLock(owner);
      const results = await Promise.allSettled(Array.from({ length: 12 }, take));
      const held = results.flatMap((result) => (result.status === 'fulfilled' ? result.value : []));
      expect(held).toHaveLength(1);
      expect(await readdir(out)).toEqual(['run.lock']);
      await held[0]!.release();
      expect(await readdir(out)).toEqual([]);
    }
  });

  it('is taken over from a process that is gone, or had the same number before', async () => {
    const owner = await ownLock();
    const hasProc = owner.began !== undefined;
    for (const other of [{ pid: await gonePid() }, ...(hasProc ? [{ began: '1' }] : [])]) {
      await leaveLock({ ...owner, ...other });
      const lock = await take();
      expect(messages.pop()).toMatch(
        /^Taking over .*run\.lock of process \d+, which held it since 20.* and is gone\.$/,
      );
      await lock.release();
    }
  });

  it.runIf(process.platform === 'linux')('is taken over from a zombie process', async () => {
    // The shell becomes a program that does not wait for its children, so that an ended child stays a zombie.
    const parent = spawn('sh', ['-c', 'cat <&3 & echo $!; exec sleep 60'], {
      stdio: ['ignore', 'pipe', 'ignore', 'pipe'],
    });
    const [line] = (await once(parent.stdout!, 'data')) as [Buffer];
    const pid = Number(line.toString());
    const becomes = async (path: string, pattern: RegExp) => {
      while (!pattern.test(await readFile(path, 'utf8'))) await new Promise((resolve) => setTimeout(resolve, 10));
    };
    await becomes(`/proc/${parent.pid}/comm`, /^sleep$/m);
    (parent.stdio[3] as Writable).end();
    await becomes(`/proc/${pid}/stat`, /\) Z/);
    await leaveLock({ ...(await ownLock()), pid });
    await (await take()).release();
    parent.kill();
    await once(parent, 'close');
  });

  it('is left alone if its process runs, is remote, or cannot be read, with an error that helps', async () => {
    const owner = await ownLock();
    const child = spawn(process.execPath, ['--eval', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
    await leaveLock({ ...owner, pid: child.pid, began: undefined });
    await expect(take()).rejects.toThrow(
      new RegExp(
        `held by process ${child.pid} .*another run trains there.*` +
          `If process ${child.pid} is another program by now, remove ${out}/run\\.lock\\.$`,
      ),
    );
    child.kill();
    await once(child, 'close');
    await leaveLock({ ...owner, host: 'far-away', pid: 1 });
    await expect(take()).rejects.toThrow(
      new RegExp(
        `held by process 1 on 'far-away' since 20.*, last heartbeat \\d+ s ago\\. ` +
          `It cannot be seen from this process \\(on '${hostname()}'\\): it is on another machine, .* Wait for it, ` +
          `end it, .* If it has ended: the lock is free after 120 s without a heartbeat; or ` +
          `remove ${out}/run\\.lock\\.$`,
      ),
    );
    await leaveLock({ ...owner, host: 'far-away', beat: undefined });
    await expect(take()).rejects.toThrow(
      new RegExp(
        `on 'far-away' since 20.*, without heartbeats\\. .* If no run uses this folder any more, remove ${out}/run`,
      ),
    );
    await leaveLock('');
    await expect(take()).rejects.toThrow(
      new RegExp(
        'another\\.json got what is no lock, expected process and host\\. ' +
          'If no program uses this folder, remove .*run\\.lock\\.$',
      ),
    );
    expect(await readdir(out)).toEqual(['run.lock']);
  });
});

describe('a run with a lock', () => {
  let pipeline: StableDiffusionPipeline;
  beforeAll(async () => {
    await useBackend('wasm');
    pipeline = await tinyPipeline();
  });
  const trainer = (options: Partial<Parameters<typeof tinyTrainer>[0]> = {}) =>
    tinyTrainer({
      pipeline,
      ...options,
      config: {
        num_epochs: 3,
        sample_num_steps: 1,
        truncated_backprop_timestep: 0,
        output_dir: out,
        ...options.config,
      },
    });

  it('refuses the folder of another run until that ends, in whichever way', async () => {
    const first = trainer();
    const second = trainer({ config: { resume_from: out } });
    for await (const { globalStep } of first.train()) {
      await expect(collect(second)).rejects.toThrow(/run\.lock is held by/);
      expect(await readdir(join(out, 'checkpoints'))).toEqual(['checkpoint_1']);
      if (globalStep === 0) break;
    }
    const failing = trainer({
      config: { resume_from: out },
      promptFunction: () => {
        throw new Error('no more prompts');
      },
    });
    await expect(collect(failing)).rejects.toThrow(/no more prompts/);
    const refused = trainer(); // because of the checkpoints in the folder
    await expect(collect(refused)).rejects.toThrow(/already holds checkpoint_1/);
    expect(await collect(second)).toHaveLength(2);
    expect(await readdir(out)).not.toContain('run.lock');
    for (const each of [first, second, failing, refused]) each.dispose();
  });

  it('ends without writing when another run has taken its folder, since it was stopped for minutes', async () => {
    const stopped = trainer({ config: { save_freq: 1 } });
    const [epochs, written] = [stopped.train(), ['config.json', 'metrics.jsonl', 'run.json', 'run.lock']];
    await epochs.next();
    await rm(join(out, 'run.lock'), { recursive: true });
    await rm(join(out, 'checkpoints'), { recursive: true });
    const lock = await take();
    const metrics = await readFile(join(out, 'metrics.jsonl'));
    await expect(epochs.next()).rejects.toThrow(
      /^output_dir: .*run\.lock is no longer held by this run, which was stopped for minutes: another run has taken/,
    );
    expect((await readdir(out)).sort()).toEqual(written);
    expect(await readFile(join(out, 'metrics.jsonl'))).toEqual(metrics);
    await expect(take()).rejects.toThrow(/is held by/);
    await lock.release();
    stopped.dispose();
  });

  it('saves complete steps when something fails, whatever save_freq is', async () => {
    let drawn = 0;
    const promptFunction = () => {
      if (++drawn > 4) throw new Error('no more prompts');
      return 'cat';
    };
    const failing = trainer({ config: { save_freq: 100 }, promptFunction });
    await expect(collect(failing)).rejects.toThrow(/no more prompts/);
    expect(await readdir(join(out, 'checkpoints'))).toEqual(['checkpoint_2']);
    const rest = trainer({ config: { resume_from: out } });
    expect((await collect(rest)).map(({ globalStep }) => globalStep)).toEqual([2]);
    for (const each of [failing, rest]) each.dispose();
  });

  it('begins anew when it resumes from its own folder without a checkpoint', async () => {
    const fresh = trainer({ config: { num_epochs: 1, resume_from: `${out}/` }, logger });
    expect(await collect(fresh)).toHaveLength(1);
    expect(messages).toContain(`resume_from: no checkpoint in '${out}/' yet, so the run begins anew.`);
    const elsewhere = trainer({ config: { resume_from: join(out, 'best') } });
    await expect(collect(elsewhere)).rejects.toThrow(/no checkpoint in '.*best'/);
    for (const each of [fresh, elsewhere]) each.dispose();
  });
});
