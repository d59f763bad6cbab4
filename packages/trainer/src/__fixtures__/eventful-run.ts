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
 * A small run that uses everything a checkpoint stores: noise, a random plan, a reward that learns, a moving average,
 * evaluations and skipped steps.
 */
const eventfulConfig: AlignPropConfigInput = {
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

/** NaN for one of the prompts. */
const failing: RewardFunction<undefined> = (images, [prompt], metadata) => {
  const rewards = brightness(images, [prompt!], metadata);
  return prompt === 'not a number' ? mul(rewards, NaN) : rewards;
};

/** A trainer with `eventfulConfig`. */
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

/** The files of a folder by path: as base64, or, for JSON, as values without durations and paths. */
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
  // state.json names places, so its checksum differs
  if (name.endsWith('SHA256SUMS')) return bytes.toString().replace(/^.*state\.json\n/m, '');
  if (!/\.jsonl?$/.test(name)) return bytes.toString('base64');
  const withoutPlaces = (key: string, value: unknown) =>
    ['seconds', 'output_dir', 'resume_from'].includes(key) ? undefined : value;
  const lines = name.endsWith('l') ? bytes.toString().split(/(?<=\n)/) : [bytes.toString()];
  return lines.map((line) => [JSON.parse(line, withoutPlaces) as unknown, line.endsWith('\n')]);
}
