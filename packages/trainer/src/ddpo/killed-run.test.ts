// A run of DDPO that ends at any moment, as by kill -9.
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { random } from '@alignprop/autograd-ext';
import { expect, it } from 'vitest';
import { filesOf } from '../__fixtures__/eventful-run.js';
import { crashingDisk, interceptDisk } from '../__fixtures__/failing-disk.js';
import { brightness } from '../__fixtures__/tiny-run.js';
import { out, pipeline, tinySuite } from '../__fixtures__/tiny-suite.js';
import { DDPOTrainer } from './trainer.js';

tinySuite();

const shape = { height: 16, width: 16, sample_num_steps: 1, sample_guidance_scale: 1 };

/** Starts the run in a folder, or resumes it: two epochs of two steps, with evaluations and a moving average. */
async function run(folder: string): Promise<void> {
  const trainer = new DDPOTrainer({
    pipeline,
    promptFunction: (generator) => ['cat', 'dog'][generator.randint(0, 2, 1)[0]!]!,
    rewardFunction: brightness as never,
    evaluation: { prompts: ['crab'] },
    config: {
      ...{ ...shape, output_dir: folder, resume_from: folder, num_epochs: 2, num_checkpoint_limit: 1 },
      ...{ eval_freq: 1, ema_decay: 0.9, per_prompt_stat_tracking: true },
    },
  });
  try {
    for await (const _ of trainer.train());
  } finally {
    trainer.dispose();
  }
}

it('a killed run of DDPO resumes to the same files, whichever operation on files was interrupted', async () => {
  let operations = 0;
  const whole = join(out, 'whole');
  const end = interceptDisk(whole, () => {
    operations++;
  });
  await run(whole).finally(end);
  const expected = await filesOf(whole);
  const parts = process.env.EVERY_WRITE ? operations : 3;
  for (const [i, draw] of [...random(3).rand(parts)].entries()) {
    const n = 1 + Math.floor(((i + draw) * operations) / parts);
    const folder = join(out, `${n}`);
    const crash = crashingDisk(folder, n);
    await Promise.race([crash.crashed, run(folder)]).finally(crash.end);
    await rm(join(folder, 'run.lock'), { recursive: true, force: true }); // this process, its owner, is still alive
    await run(folder);
    expect(await filesOf(folder), `killed in operation ${n} of ${operations}`).toEqual(expected);
  }
});
