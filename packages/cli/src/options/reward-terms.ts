import { isModelReward, loadReward, weightedSum, type RewardFunction } from '@alignprop/rewards';
import { UsageError } from '../terminal/errors.js';
import { isRewardFile, rewardFile, rewardFileName } from './reward-file.js';
import { hasWeights, isListedReward, listedReward, rewardNames } from './reward-list.js';

/** Values by option by reward: `{ aesthetic: { head: './head.pth' } }`. */
type OptionsByReward = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

/** Values of `--reward-option`, such as `aesthetic.head=./head.pth`, or the nested form of configuration files. */
export type RewardOptions = string | readonly string[] | OptionsByReward;

interface Term {
  readonly name: string;
  readonly weight: number;
  readonly load: () => Promise<RewardFunction>;
}

/** A weighted sum of rewards that are checked but not loaded. */
export interface RewardTerms {
  readonly names: readonly string[];
  /** @param onLoad called with a message before each reward that has weights is loaded */
  readonly load: (onLoad?: (text: string) => void) => Promise<RewardFunction>;
}

interface RewardTermsOptions {
  /** The flag that gave the terms, for error messages. */
  flag?: string;
  /** Terms of another flag, to which the reward options may belong as well. */
  otherTerms?: readonly string[];
}

/**
 * Parses terms `name`, `name:weight`, `file` and `file:weight`, and their options.
 * @returns the names, and a function that loads the weighted sum; a single term of weight 1 is the reward itself
 * @throws UsageError if a name is unknown or occurs twice, a weight is not a number, or an option is unknown or
 *   belongs to none of the terms
 */
export function rewardTerms(
  terms: readonly string[],
  options: RewardOptions = [],
  { flag = '--reward', otherTerms = [] }: RewardTermsOptions = {},
): RewardTerms {
  const optionsByReward = parseOptions(options);
  const parsed = terms.map((term) => parseTerm(term, optionsByReward, flag));
  const names = parsed.map(({ name }) => name);
  const duplicate = names.find((name, i) => names.indexOf(name) !== i);
  if (duplicate)
    throw new UsageError(`${flag}: '${duplicate}' is given twice. Give it once, with the sum of the weights.`);
  const listed = [...names, ...otherTerms.map((term) => splitTerm(term).name)].filter(isListedReward);
  const stray = Object.keys(optionsByReward).find((name) => !listed.includes(name));
  if (stray) {
    const expected = [...new Set(listed)].join(', ') || 'a listed reward';
    throw new UsageError(`--reward-option: got an option of '${stray}', expected one of ${expected}.`);
  }
  return { names, load: (onLoad) => loadSum(parsed, onLoad) };
}

async function loadSum(terms: readonly Term[], onLoad: (text: string) => void = () => {}): Promise<RewardFunction> {
  const rewards: RewardFunction[] = [];
  for (const { name, load } of terms) {
    if (hasWeights(name)) onLoad(`Loading the reward ${name}`);
    rewards.push(await load()); // sequential, since each may download gigabytes
  }
  if (rewards.length === 1 && terms[0]!.weight === 1) return rewards[0]!;
  // An engine cannot compile a sum that contains a plain function. It runs eagerly, with all weights in memory.
  const summands = rewards.every(isModelReward)
    ? rewards
    : await Promise.all(rewards.map(async (reward) => (isModelReward(reward) ? loadReward(reward) : reward)));
  return weightedSum(Object.fromEntries(terms.map(({ name, weight }, i) => [name, [summands[i]!, weight]])));
}

function parseTerm(term: string, optionsByReward: OptionsByReward, flag: string): Term {
  const { name, weight } = splitTerm(term);
  const isFile = isRewardFile(name);
  if (!isFile && !isListedReward(name))
    throw new UsageError(
      `${flag}: got '${name}', expected a .js, .mjs or .ts file, or one of ${rewardNames.join(', ')}.`,
    );
  if (weight.trim() === '' || !Number.isFinite(Number(weight)))
    throw new UsageError(`${flag}: weight of '${name}' got '${weight}', expected a number.`);
  if (isFile) return { name: rewardFileName(name), weight: Number(weight), load: () => rewardFile(name) };
  return { name, weight: Number(weight), load: listedReward(name, optionsByReward[name] ?? {}) };
}

/** Splits a term at the colon before its weight. In the path of a file, a colon may also follow a drive letter. */
function splitTerm(term: string): { name: string; weight: string } {
  const pattern = isRewardFile(term.replace(/:[^:\\/]*$/, '')) ? /^(.*?)(?::([^:\\/]*))?$/ : /^([^:]*)(?::(.*))?$/;
  const [, name = term, weight = '1'] = pattern.exec(term) ?? [];
  return { name, weight };
}

function parseOptions(options: RewardOptions): OptionsByReward {
  if (typeof options === 'object' && !Array.isArray(options)) return { ...(options as OptionsByReward) };
  const byReward: Record<string, Record<string, unknown>> = {};
  for (const written of [options].flat() as readonly string[]) {
    const [, name, option, value] = /^([^.=]+)\.([^=]+)=(.*)$/s.exec(written) ?? [];
    if (name === undefined)
      throw new UsageError(
        `--reward-option: got '${written}', expected reward.option=value, such as aesthetic.head=./head.pth.`,
      );
    (byReward[name] ??= {})[option!] = value;
  }
  return byReward;
}
