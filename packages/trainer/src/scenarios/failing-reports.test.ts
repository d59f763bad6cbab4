// Trackers and hooks of the user's that throw.
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { collect, oneStepConfig, tinyTrainer } from '../__fixtures__/tiny-run.js';
import { out, pipeline, tinySuite } from '../__fixtures__/tiny-suite.js';

tinySuite();

it('trackers and hooks that throw are reported once for each call, and lose no step and no checkpoint', async () => {
  const warnings: string[] = [];
  const fail = (message: string) => () => {
    throw new Error(message);
  };
  const reject = (message: string) => () => Promise.reject(new Error(message));
  const trainer = tinyTrainer({
    pipeline,
    evaluation: { prompts: ['fox'] },
    imageSamplesHook: fail('no hook'),
    evaluationSamplesHook: reject('no evaluation hook'),
    trackers: [
      { log: reject('network'), logEvaluation: fail('network'), close: fail('closed') },
      { log: fail('other'), close: () => {} },
    ],
    logger: { info: () => {}, warn: (text) => void warnings.push(text.replace(/ Training goes on.*/, '')) },
    config: { ...oneStepConfig, num_epochs: 3, save_freq: 10, eval_freq: 2, output_dir: out },
  });
  expect(await collect(trainer)).toHaveLength(3);
  trainer.dispose();
  expect(await readdir(join(out, 'checkpoints'))).toEqual(['checkpoint_3']);
  expect(warnings).toEqual([
    'evaluationSamplesHook failed: no evaluation hook.',
    'trackers[0].logEvaluation failed: network.',
    'imageSamplesHook failed: no hook.',
    'trackers[0].log failed: network.',
    'trackers[1].log failed: other.',
    'trackers[0].close failed: closed.',
  ]);
});
