import { readdir } from 'node:fs/promises';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { folderPerTest, out } from '../../../../fixtures/folder-per-test.js';
import { parseAlignPropConfig } from '../config/config.js';
import type { TrackedRun } from './tracker-kind.js';
import { wandb } from './wandb.js';

folderPerTest();
afterEach(() => vi.unstubAllEnvs());

/** Creates the tracker and closes it. @returns its messages, and the names in the folder `wandb` */
async function start(options: object = {}, run: Partial<TrackedRun> = {}) {
  const messages: string[] = [];
  const tracker = await wandb.create(
    {
      config: parseAlignPropConfig({ log_with: 'wandb' }),
      folder: { path: out, metrics: `${out}/metrics.jsonl` },
      fromStep: 0,
      warn: (message) => void messages.push(`warning: ${message}`),
      info: (message) => void messages.push(message),
      ...run,
    },
    options,
  );
  await tracker?.close();
  const names = await readdir(`${out}/wandb`).catch(() => []);
  return { messages, runs: names.filter((name) => name.startsWith('offline-run')) };
}

describe("log_with 'wandb'", () => {
  it('prints the command that uploads the run', async () => {
    const { messages, runs } = await start();
    expect(messages).toEqual([`Upload the run to Weights & Biases with: wandb sync ${out}/wandb/${runs[0]}`]);
  });

  it.each(['WANDB_MODE', 'tracker_kwargs'])('says that a run is offline where %s asks for online', async (where) => {
    if (where === 'WANDB_MODE') vi.stubEnv('WANDB_MODE', 'online');
    const { messages } = await start(where === 'WANDB_MODE' ? {} : { mode: 'online' });
    expect(messages[0]).toMatch(/^warning: .*got mode 'online', but runs are written offline\. .*wandb sync /);
  });

  it.each([
    ['dryrun', 1],
    ['offline', 1],
    ['disabled', 0],
  ])('with WANDB_MODE=%s writes %d run', async (mode, count) => {
    vi.stubEnv('WANDB_MODE', mode);
    expect((await start()).runs).toHaveLength(count);
  });

  it('takes the folder and the id from the environment, and from tracker_kwargs first', async () => {
    vi.stubEnv('WANDB_DIR', `${out}/elsewhere`);
    vi.stubEnv('WANDB_RUN_ID', 'from-env');
    await start();
    expect(await readdir(`${out}/elsewhere/wandb`)).toEqual([expect.stringMatching(/-from-env$/)]);
    const { runs } = await start({ id: 'given', dir: out });
    expect(runs).toEqual([expect.stringMatching(/-given$/)]);
  });

  it.each([
    ['WANDB_MODE', 'offlin', /WANDB_MODE: got 'offlin', expected online, offline or disabled/],
    ['WANDB_RUN_ID', '../x', /wandb\.id: got '\.\.\/x', expected at most 128 letters/],
  ])('refuses %s=%s', async (name, value, message) => {
    vi.stubEnv(name, value);
    await expect(start()).rejects.toThrow(message);
  });
});
