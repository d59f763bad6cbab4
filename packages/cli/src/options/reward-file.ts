import { stat } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { RewardFunction } from '@alignprop/rewards';
import { UsageError } from '../terminal/errors.js';

/** Whether the name of a reward is the path of a module, not the name of a listed reward. */
export const isRewardFile = (name: string): boolean => /\.[cm]?[jt]s$/.test(name);

/** The reward's name in tables and metrics: `my-reward` for `./my-reward.ts`. */
export const rewardFileName = (path: string): string => basename(path).replace(/\.[cm]?[jt]s$/, '');

/**
 * Loads the reward that a user's module exports by default: a RewardFunction, or a function without parameters that
 * returns one or a promise of one.
 * @throws if the file does not exist, cannot be run, or exports something else
 */
export async function rewardFile(path: string): Promise<RewardFunction> {
  if (!(await stat(path).catch(() => undefined))?.isFile())
    throw new UsageError(`--reward: there is no file '${path}'.`);
  const { default: exported } = await importModule(path);
  if (typeof exported !== 'function')
    throw new UsageError(
      `--reward: the default export of '${path}' got ${kindOf(exported)}, expected a function: ${signature}`,
    );
  if (exported.length > 0 || 'outputs' in exported) return exported as RewardFunction;
  const reward = await (exported as () => unknown)();
  if (typeof reward === 'function') return reward as RewardFunction;
  throw new UsageError(
    `--reward: the default export of '${path}' has no parameters, so it was called to create the reward. ` +
      `It returned ${kindOf(reward)}, expected a function: ${signature}`,
  );
}

const signature = '(images, prompts, metadata) => scores, or () => such a function.';

async function importModule(path: string): Promise<{ default?: unknown }> {
  try {
    return (await import(pathToFileURL(resolve(path)).href)) as { default?: unknown };
  } catch (cause) {
    throw new Error(
      `--reward: cannot load '${path}': ${(cause as Error).message}${advice(cause as NodeJS.ErrnoException)}`,
      { cause },
    );
  }
}

function advice({ code, message }: NodeJS.ErrnoException): string {
  if (code === 'ERR_UNKNOWN_FILE_EXTENSION' && /\.[cm]?ts\b/.test(message))
    return (
      `. Node ${process.versions.node} does not run TypeScript: ` +
      'use Node 22.18 or newer, or compile the file to .mjs.'
    );
  if (code === 'ERR_MODULE_NOT_FOUND')
    return ". Install the packages that it imports in the file's folder, such as @tensorflow/tfjs-core.";
  return '';
}

function kindOf(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (value === null) return 'null';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}
