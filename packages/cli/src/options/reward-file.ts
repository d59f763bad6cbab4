import { stat } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { RewardFunction } from '@alignprop/rewards';
import { UsageError } from '../terminal/errors.js';

/** Whether a name is that of a file with a reward, and not a listed reward's. */
export const isRewardFile = (name: string): boolean => /\.[cm]?[jt]s$/.test(name);

/** What the reward of a file is called: `./my-reward.ts` is `my-reward`. */
export const rewardFileName = (path: string): string => basename(path).replace(/\.[cm]?[jt]s$/, '');

/**
 * The reward that a user's own module exports by default: a RewardFunction, or a function without parameters that
 * returns one or a promise of one.
 * @throws if there is no such file, it cannot be run, or exports something else
 */
export async function rewardFile(path: string): Promise<RewardFunction> {
  if (!(await stat(path).catch(() => undefined))?.isFile())
    throw new UsageError(`--reward: there is no file '${path}'.`);
  const module = await load(path);
  const exported = module.default;
  if (typeof exported !== 'function')
    throw new UsageError(
      `--reward: the default export of '${path}' got ${kindOf(exported)}, expected a function: ${shape}`,
    );
  if (exported.length > 0 || 'outputs' in exported) return exported as RewardFunction;
  const made = await (exported as () => unknown)();
  if (typeof made === 'function') return made as RewardFunction;
  throw new UsageError(
    `--reward: the default export of '${path}' has no parameters, so it was called to make a reward. It returned ${kindOf(made)}, expected a function: ${shape}`,
  );
}

const shape = '(images, prompts, metadata) => scores, or () => such a function.';

async function load(path: string): Promise<{ default?: unknown }> {
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
  if (code === 'ERR_UNKNOWN_FILE_EXTENSION' && /\.[cm]?ts\b/.test(message)) {
    return `. Node ${process.versions.node} does not run TypeScript: use Node 22.18 or newer, or compile the file to .mjs.`;
  }
  if (code === 'ERR_MODULE_NOT_FOUND') return '. Install what it imports in its folder, such as @tensorflow/tfjs-core.';
  return '';
}

const kindOf = (value: unknown): string =>
  value === null
    ? 'null'
    : typeof value === 'object'
      ? 'an object'
      : value === undefined
        ? 'nothing'
        : `a ${typeof value}`;
