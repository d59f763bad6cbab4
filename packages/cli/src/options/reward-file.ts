import { stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { ifPresent } from '@alignprop/autograd-ext/weights';
import type { BlackBoxReward, RewardFunction } from '@alignprop/rewards';
import { describeValue, isClass } from '@alignprop/rewards/interface';
import { UsageError } from '../terminal/errors.js';
import { importModule } from './user-module.js';

/** A reward of the user's: with a gradient, or a black box. */
export type UserReward = RewardFunction | BlackBoxReward;

/** A module of the user's whose exports are checked. */
interface RewardFile {
  /** The reward; undefined if the module exports a function that makes it. */
  readonly exported?: UserReward;
  readonly load: () => Promise<UserReward>;
}

/** Whether the name of a reward is the path of a module, not the name of a listed reward. */
export const isRewardFile = (name: string): boolean => /\.[cm]?[jt]s$/.test(name);

/** The reward's name in tables and metrics: `my-reward` for `./my-reward.ts`. */
export const rewardFileName = (path: string): string => basename(path).replace(/\.[cm]?[jt]s$/, '');

/**
 * Imports a user's module and finds its reward: the default export, a RewardFunction or BlackBoxReward;
 * or what its export `createReward`, possibly async, returns. A default export with an empty parameter list is such a
 * function as well, since a reward has to take images.
 * @param flag the flag that named the file, for messages
 * @throws if the file does not exist, cannot be run, or exports something else
 */
export async function openRewardFile(path: string, flag: string): Promise<RewardFile> {
  if (!(await ifPresent(stat(path)))?.isFile()) throw new UsageError(`${flag}: there is no file '${path}'.`);
  const module = await importModule(path, flag);
  const { createReward } = module;
  const exported = defaultExport(module);
  if (typeof createReward === 'function' && exported !== undefined)
    throw new UsageError(`${flag}: '${path}' exports both a default and createReward, expected one of them.`);
  const maker = createReward ?? (isMaker(exported) ? exported : undefined);
  if (maker === undefined) {
    checkReward(exported, `${flag}: the default export of '${path}'`, module);
    return { exported, load: () => Promise.resolve(exported) };
  }
  const what = createReward === undefined ? 'the default export' : 'createReward';
  if (typeof maker !== 'function' || isClass(maker))
    throw new UsageError(`${flag}: createReward of '${path}' got ${describeValue(maker)}, expected a function.`);
  const why = createReward === undefined ? ' has no parameters, so it was called to make the reward, and' : '';
  const subject = `${flag}: ${what} of '${path}'${why}`;
  const load = async () => {
    const reward = await callMaker(maker as () => unknown, subject);
    checkReward(reward, `${subject} returned something else: it`, {});
    return reward;
  };
  return { load };
}

/** @throws the error of the function, after the subject of a sentence about it */
async function callMaker(maker: () => unknown, subject: string): Promise<unknown> {
  try {
    return await maker();
  } catch (cause) {
    throw new Error(`${subject} threw: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

/** Whether calling the reward gives a promise: then it has no gradient. */
export const isAsyncFunction = (reward: unknown): boolean =>
  Object.prototype.toString.call(reward) === '[object AsyncFunction]';

function checkReward(
  value: unknown,
  subject: string,
  module: Readonly<Record<string, unknown>>,
): asserts value is UserReward {
  if (typeof value === 'function' && !isClass(value) && !isGenerator(value)) return;
  const kind = isGenerator(value) ? 'a generator function' : describeValue(value);
  const advice = isClass(value) ? adviceForClass(value as { name: string }) : adviceForExports(module);
  throw new UsageError(`${subject} got ${kind}, expected a function (images, prompts, metadata) => scores. ${advice}`);
}

const adviceForClass = ({ name }: { readonly name: string }): string =>
  `Export a method: const it = new ${name || 'Score'}(); export default (...args) => it.score(...args).`;

function adviceForExports(module: Readonly<Record<string, unknown>>): string {
  const functions = Object.keys(module).filter((key) => key !== 'default' && typeof module[key] === 'function');
  if (functions.length > 0) return `Write 'export default' before ${functions.join(' or ')}.`;
  return 'A function that makes the reward is exported as createReward.';
}

const isGenerator = (value: unknown): boolean => /Generator/.test(Object.prototype.toString.call(value));

/** Whether a function has an empty parameter list and does not read `arguments`: it cannot see images. */
function isMaker(value: unknown): boolean {
  if (typeof value !== 'function' || value.length > 0 || 'outputs' in value || isClass(value)) return false;
  const source = Function.prototype.toString.call(value).replace(/\/\*[\s\S]*?\*\/|\/\/[^\n]*/g, '');
  if (source.includes('[native code]')) return false; // a bound function
  return /^(?:async\s*)?(?:function\b)?\s*[\w$]*\s*\(\s*\)/.test(source) && !/\barguments\b/.test(source);
}

/** The default export; that of a module which a compiler has turned into CommonJS lies one level deeper. */
function defaultExport({ default: exported }: Readonly<Record<string, unknown>>): unknown {
  const inner = exported as { __esModule?: boolean; default?: unknown } | null | undefined;
  return typeof exported === 'object' && inner?.__esModule ? inner.default : exported;
}
