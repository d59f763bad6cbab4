// A disk without room: a small tmpfs where the test may mount one, else a disk that says it is full.
import { execFileSync } from 'node:child_process';
import files, { mkdir, readdir, readFile, stat } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { collect, oneStepConfig, tinyTrainer, trainedValues } from '../__fixtures__/tiny-run.js';
import { out, pipeline, tinySuite } from '../__fixtures__/tiny-suite.js';
import { describeDamage } from '../run/checkpoints.js';

tinySuite();

const cleanups: (() => void)[] = [];
afterEach(() => cleanups.splice(0).forEach((clean) => clean()));

/** Mounts a disk of so many bytes on a folder. @returns how to change its size; undefined where that is not allowed */
async function mountDisk(folder: string, size: number): Promise<((size: number) => void) | undefined> {
  await mkdir(folder);
  const mount = (...args: string[]) => execFileSync('mount', [...args, folder], { stdio: 'pipe' });
  try {
    mount('-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs');
  } catch {
    return undefined;
  }
  cleanups.push(() => execFileSync('umount', [folder]));
  return (changed) => void mount('-o', `remount,size=${changed}`);
}

/** Makes all disks say that so many bytes are free, until the test ends. */
function pretendFree(bytes: number): void {
  const { statfs } = files;
  const restore = () => {
    Object.assign(files, { statfs });
    syncBuiltinESMExports();
  };
  const small = async () => ({ blocks: 1000, bsize: 1, bfree: bytes, bavail: bytes });
  Object.assign(files, { statfs: small });
  syncBuiltinESMExports();
  cleanups.push(restore);
}

async function run(output_dir: string, num_epochs: number, resume_from = ''): Promise<number[]> {
  const config = { ...oneStepConfig, num_epochs, save_freq: 1, output_dir, resume_from };
  const trainer = tinyTrainer({ pipeline, config });
  try {
    await collect(trainer);
    return trainedValues(trainer.pipeline);
  } finally {
    trainer.dispose();
  }
}

/** The bytes of all files of a folder. */
async function sizeOf(folder: string): Promise<number> {
  const sizes = (await readdir(folder)).map(async (name) => (await stat(join(folder, name))).size);
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}

/** The bytes that an error says are needed and free. */
const numbersOf = (message: string): number[] =>
  [...message.matchAll(/\d+(?= bytes| are free)/g)].map(([number]) => Number(number));

describe('a disk without room for a checkpoint', () => {
  it('stops a run before its first step, with the bytes that are needed and free', async () => {
    await run(join(out, 'roomy'), 1);
    const size = await sizeOf(join(out, 'roomy/checkpoints/checkpoint_1'));
    const disk = join(out, 'disk');
    const remount = await mountDisk(disk, 65536);
    if (!remount) pretendFree(65536);
    const error = await run(join(disk, 'run'), 1).catch((caught: unknown) => caught as Error);
    expect((error as Error).message).toMatch(
      /^output_dir: a checkpoint needs \d+ bytes; \d+ are free in .*checkpoints\. Make room or choose another outp/,
    );
    const [needed, free] = numbersOf((error as Error).message) as [number, number];
    expect(free).toBeLessThanOrEqual(65536);
    expect(free).toBeGreaterThan(0);
    expect(needed / size).toBeGreaterThan(0.98);
    expect(needed / size).toBeLessThan(1.05);
    expect(await readdir(join(disk, 'run'))).toEqual([]);
  });

  it('that fills up later leaves the earlier checkpoint whole, from which the run goes on', async () => {
    const whole = await run('', 3);
    await run(join(out, 'roomy'), 1);
    const size = await sizeOf(join(out, 'roomy/checkpoints/checkpoint_1'));
    const disk = join(out, 'disk');
    const remount = await mountDisk(disk, Math.round(2.2 * size)); // that of one checkpoint and the half of another
    const folder = join(disk, 'run');
    if (!remount) {
      await run(folder, 1);
      pretendFree(Math.round(size / 2));
    }
    const error = await run(folder, 3, remount ? '' : folder).catch((caught: unknown) => caught as Error);
    expect((error as Error).message).toMatch(
      /(Checkpoint: cannot write|a checkpoint needs) .*\d+ bytes; \d+ are free in /,
    );
    const [needed, free] = numbersOf((error as Error).message) as [number, number];
    expect(free).toBeLessThan(needed);
    const checkpoints = await readdir(join(folder, 'checkpoints'));
    expect(checkpoints.every((name) => /^checkpoint_\d$/.test(name))).toBe(true);
    for (const name of checkpoints) expect(await describeDamage(join(folder, 'checkpoints', name))).toBeUndefined();
    expect(checkpoints).toContain('checkpoint_1');
    cleanups.splice(remount ? 1 : 0).forEach((clean) => clean());
    remount?.(20 * size);
    expect(await run(folder, 3, folder)).toEqual(whole);
    expect((await readFile(join(folder, 'metrics.jsonl'), 'utf8')).trim().split('\n')).toHaveLength(3);
  });
});
