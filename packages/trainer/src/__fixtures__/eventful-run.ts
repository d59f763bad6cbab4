import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { mul } from '@tensorflow/tfjs-core';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import { normalised, type RewardFunction } from '@alignprop/rewards';
import type { AlignPropConfigInput } from '../config/config.js';
import type { Logger } from '../logger.js';
import type { AlignPropTrainer } from '../trainer.js';
import { brightness, tinyTrainer } from './tiny-run.js';

/**
 * Small, with everything that a checkpoint has to remember: noise, a random plan, a reward that learns, an average,
 * evaluations, skipped steps.
 */
export const eventfulConfig: AlignPropConfigInput = {
  num_epochs: 3,
  sample_num_steps: 2,
  truncated_backprop_rand: true,
  truncated_rand_backprop_minmax: [0, 1],
  sample_guidance_scale: 1,
  train_batch_size: 1,
  num_checkpoint_limit: 1,
  ema_decay: 0.9,
  eval_freq: 2,
  early_stopping_patience: 3,
  on_nonfinite: 'skip',
};

const prompts = ['cat', 'dog', 'not a number'];

/** Of some prompts the reward is no number, whatever came before. */
const failing: RewardFunction<undefined> = (images, [prompt], metadata) => {
  const rewards = brightness(images, [prompt!], metadata);
  return prompt === 'not a number' ? mul(rewards, NaN) : rewards;
};

export const eventfulTrainer = (
  pipeline: StableDiffusionPipeline,
  config: AlignPropConfigInput,
  logger?: Logger,
): AlignPropTrainer =>
  tinyTrainer({
    pipeline,
    rewardFunction: normalised(failing) as RewardFunction<undefined>,
    promptFunction: (generator) => prompts[generator.randint(0, prompts.length, 1)[0]!]!,
    evaluation: { prompts: ['crab'], rewardFunction: brightness as RewardFunction<undefined> },
    config: { ...eventfulConfig, ...config },
    logger,
  });

/** All that a run left in its folder, by path: bytes as base64; JSON without times and places. */
export async function filesOf(folder: string): Promise<Record<string, unknown>> {
  const names = (await readdir(folder, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
  const contents = names
    .sort()
    .map(async (name) => [name.slice(folder.length + 1), comparable(name, await readFile(name))] as const);
  return Object.fromEntries(await Promise.all(contents));
}

function comparable(name: string, bytes: Buffer): unknown {
  if (!/\.jsonl?$/.test(name)) return bytes.toString('base64');
  const leaveOut = (key: string, value: unknown) =>
    ['seconds', 'output_dir', 'resume_from'].includes(key) ? undefined : value;
  const lines = name.endsWith('l') ? bytes.toString().split(/(?<=\n)/) : [bytes.toString()];
  return lines.map((line) => [JSON.parse(line, leaveOut) as unknown, line.endsWith('\n')]);
}
