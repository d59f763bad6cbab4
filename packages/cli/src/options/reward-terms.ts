import { isModelReward, loadReward, weightedSum, type RewardFunction } from '@alignprop/rewards';
import { UsageError } from '../terminal/errors.js';
import { isRewardFile, rewardFile, rewardFileName } from './reward-file.js';
import { hasWeights, isListedReward, listedReward, rewardNames } from './reward-list.js';

/** `--reward-option` as given: `aesthetic.head=./head.pth`; a configuration file may nest instead. */
export type RewardOptions = string | readonly string[] | Readonly<Record<string, Readonly<Record<string, unknown>>>>;

interface Term {
  readonly name: string;
  readonly weight: number;
  readonly load: () => Promise<RewardFunction>;
}

/** Rewards that were asked for, and not loaded yet. */
export interface RewardTerms {
  readonly names: readonly string[];
  /** @param onLoad told before each that has weights is loaded */
  readonly load: (onLoad?: (text: string) => void) => Promise<RewardFunction>;
}

interface TermOptions {
  /** The flag that gave the terms, for errors. */
  flag?: string;
  /** Terms of another flag, which the options may belong to as well. */
  others?: readonly string[];
}

/**
 * Reads `id`, `id:weight`, `file` and `file:weight` terms and their options.
 * @returns the names, and what makes their weighted sum; of one term with weight 1, that reward itself
 * @throws if a name is unknown or comes twice, a weight is no number, or an option is unknown or belongs to no term
 */
export function rewardTerms(
  terms: readonly string[],
  options: RewardOptions = [],
  { flag = '--reward', others = [] }: TermOptions = {},
): RewardTerms {
  const given = readOptions(options);
  const parts = terms.map((term) => parseTerm(term, given, flag));
  const names = parts.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice) throw new UsageError(`${flag}: '${twice}' is given twice. Give it once, with the sum of the weights.`);
  const listed = [...names, ...others.map((term) => splitTerm(term).name)].filter(isListedReward);
  const stray = Object.keys(given).find((name) => !listed.includes(name));
  if (stray)
    throw new UsageError(
      `--reward-option: got an option of '${stray}', expected one of ${[...new Set(listed)].join(', ') || 'a listed reward'}.`,
    );
  return { names, load: (onLoad) => join(parts, onLoad) };
}

async function join(parts: readonly Term[], onLoad: (text: string) => void = () => {}): Promise<RewardFunction> {
  const rewards: RewardFunction[] = [];
  for (const { name, load } of parts) {
    if (hasWeights(name)) onLoad(`Loading the reward ${name}`);
    rewards.push(await load()); // one after the other: each may download gigabytes
  }
  if (rewards.length === 1 && parts[0]!.weight === 1) return rewards[0]!;
  // Beside a plain function no engine compiles the others, so they have to be in memory.
  const all = rewards.every(isModelReward)
    ? rewards
    : await Promise.all(rewards.map(async (reward) => (isModelReward(reward) ? loadReward(reward) : reward)));
  return weightedSum(Object.fromEntries(parts.map(({ name, weight }, i) => [name, [all[i]!, weight]])));
}

function parseTerm(
  term: string,
  options: Readonly<Record<string, Readonly<Record<string, unknown>>>>,
  flag: string,
): Term {
  const { name, weight } = splitTerm(term);
  const isFile = isRewardFile(name);
  if (!isFile && !isListedReward(name))
    throw new UsageError(
      `${flag}: got '${name}', expected a .js, .mjs or .ts file, or one of ${rewardNames.join(', ')}.`,
    );
  if (weight.trim() === '' || !Number.isFinite(Number(weight)))
    throw new UsageError(`${flag}: weight of '${name}' got '${weight}', expected a number.`);
  if (isFile) return { name: rewardFileName(name), weight: Number(weight), load: () => rewardFile(name) };
  return { name, weight: Number(weight), load: listedReward(name, options[name] ?? {}) };
}

function splitTerm(term: string): { name: string; weight: string } {
  // A drive's letter has a colon behind it, so of a file's only a number is split off.
  const pattern = isRewardFile(term.replace(/:[^:\\/]*$/, '')) ? /^(.*?)(?::([^:\\/]*))?$/ : /^([^:]*)(?::(.*))?$/;
  const [, name = term, weight = '1'] = pattern.exec(term) ?? [];
  return { name, weight };
}

function readOptions(options: RewardOptions): Record<string, Record<string, unknown>> {
  if (typeof options === 'object' && !Array.isArray(options))
    return { ...options } as Record<string, Record<string, unknown>>;
  const given: Record<string, Record<string, unknown>> = {};
  for (const written of [options].flat() as readonly string[]) {
    const [, name, option, value] = /^([^.=]+)\.([^=]+)=(.*)$/s.exec(written) ?? [];
    if (name === undefined)
      throw new UsageError(
        `--reward-option: got '${written}', expected reward.option=value, such as aesthetic.head=./head.pth.`,
      );
    (given[name] ??= {})[option!] = value;
  }
  return given;
}
