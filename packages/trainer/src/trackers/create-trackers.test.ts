import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { useBackend } from '@alignprop/autograd-ext';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { collect, tinyPipeline, tinyTrainer } from '../__fixtures__/tiny-run.js';
import type { AlignPropConfigInput } from '../config/config.js';

let out: string;
beforeAll(() => useBackend('wasm'));
beforeEach(async () => void (out = await mkdtemp(join(tmpdir(), 'trackers-'))));
afterEach(() => rm(out, { recursive: true, force: true }));

const quick: AlignPropConfigInput = {
  sample_num_steps: 1,
  truncated_backprop_timestep: 0,
  train_batch_size: 1,
  num_epochs: 2,
};

/** How often a text occurs in all files of a folder. */
async function count(folder: string, text: string): Promise<number> {
  const files = await Promise.all((await readdir(folder)).map((name) => readFile(join(folder, name), 'latin1')));
  return files.join('').split(text).length - 1;
}

describe('log_with', () => {
  it("'tensorboard' writes a file a start into the project's folder, with images though no hook is given, every log_image_freq steps", async () => {
    const pipeline = await tinyPipeline();
    const train = async (config: AlignPropConfigInput) => {
      const trainer = tinyTrainer({
        pipeline,
        promptFunction: () => 'a red crab',
        config: { ...quick, output_dir: out, log_with: 'tensorboard', log_image_freq: 2, ...config },
      });
      await collect(trainer);
      trainer.dispose();
    };
    await train({});
    const folder = join(out, 'trl');
    expect(await readdir(folder)).toHaveLength(1);
    expect(await count(folder, 'reward_mean')).toBe(3); // two steps, and the HParams page
    expect(await count(folder, '0. a red crab | ')).toBe(1);
    expect(await count(folder, '_hparams_/session_end_info')).toBe(1);
    await train({ num_epochs: 3, resume_from: out, tracker_project_name: 'trl' });
    expect(await readdir(folder)).toHaveLength(2);
    expect(await count(folder, '0. a red crab | ')).toBe(2);
    pipeline.dispose();
  });

  it("'trackio' fails before any step where no server is", async () => {
    const pipeline = await tinyPipeline();
    let drawn = 0;
    const trainer = tinyTrainer({
      pipeline,
      promptFunction: () => (drawn++, 'cat'),
      config: { ...quick, log_with: 'trackio', tracker_kwargs: { trackio: { url: 'http://127.0.0.1:1/' } } },
    });
    await expect(collect(trainer)).rejects.toThrow(/trackioTracker: no Trackio server at http:\/\/127\.0\.0\.1:1\//);
    expect(drawn).toBe(0);
    trainer.dispose();
    pipeline.dispose();
  });
});
