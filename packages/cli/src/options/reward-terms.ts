import { maskSecrets } from '@alignprop/autograd-ext/outside';
import {
  capped,
  isModelReward,
  loadReward,
  normalised,
  scoredSum,
  weightedSum,
  type ModelReward,
  type RewardFunction,
} from '@alignprop/rewards';
import { UsageError } from '../terminal/errors.js';
import { timed } from '../terminal/timed.js';
import { commandReward } from './command-reward.js';
import { httpReward } from './http-reward.js';
import { isAsyncFunction, openRewardFile, type UserReward } from './reward-file.js';
import { hasWeights, listedReward } from './reward-list.js';
import { parseRewardOptions, serviceName, serviceOptions, type RewardOptions } from './reward-term-options.js';
import { parseTerm, sourceOfTerm, type Term } from './reward-term.js';

/** A term that is checked, and a function that loads its reward. */
interface CheckedTerm extends Term {
  readonly load: () => Promise<UserReward>;
}

/** A weighted sum of rewards that are checked but not loaded. */
export interface RewardTerms<R extends UserReward = RewardFunction> {
  readonly names: readonly string[];
  /** The user's modules, which `check` runs. */
  readonly files: readonly string[];
  /**
   * Imports the user's modules, and checks what they export: cheap, so that it comes before models are loaded. Needs an
   * active tfjs backend, since modules may create tensors.
   */
  readonly check: () => Promise<void>;
  /** @param onLoad called with messages before each reward that has weights is loaded, and after what took long */
  readonly load: (onLoad?: (text: string) => void) => Promise<R>;
}

interface RewardTermsOptions {
  /** The flag that gave the terms, for error messages. */
  flag?: string;
  /** Terms of another flag, to which the reward options may belong as well. */
  otherTerms?: readonly string[];
  /** Says how to train a reward that has no gradient. */
  ddpoAdvice?: string;
  /** Whether the reward is trained, so that it has statistics for `:normalised`. */
  isTrained?: boolean;
}

/**
 * Parses the terms of a reward that is trained with its gradient, and their options: see `parseTerm`.
 * @returns the names, and a function that loads the weighted sum; a single term of weight 1 is the reward itself
 * @throws UsageError if a name is unknown or occurs twice, a setting is wrong, a term has no gradient, or an option is
 *   unknown or belongs to none of the terms
 */
export function rewardTerms(
  terms: readonly string[],
  options: RewardOptions = [],
  { flag = '--reward', otherTerms = [], ddpoAdvice = 'Train it with --algorithm ddpo.' }: RewardTermsOptions = {},
): RewardTerms {
  const parsed = checkedTerms(terms, options, { flag, otherTerms });
  const remote = parsed.find(({ kind }) => kind === 'http' || kind === 'command');
  if (remote)
    throw new UsageError(
      `${flag}: '${remote.source}' is computed by another program, so it has no gradient, expected a differentiable ` +
        `reward. ${ddpoAdvice}`,
    );
  const check = async () => {
    for (const { kind, source } of parsed) {
      if (kind === 'file' && isAsyncFunction((await openRewardFile(source, flag)).exported))
        throw new UsageError(
          `${flag}: '${source}' exports an async function, which has no gradient, expected a synchronous one. ` +
            ddpoAdvice,
        );
    }
  };
  return { names: namesOf(parsed), files: filesOf(parsed), check, load: (onLoad) => loadSum(parsed, onLoad) };
}

/**
 * The same for rewards that need no gradient: these may also be async, services (`https://…`) and commands
 * (`exec:…`).
 */
export function blackBoxTerms(
  terms: readonly string[],
  options: RewardOptions = [],
  { flag = '--reward', otherTerms = [], isTrained = false }: RewardTermsOptions = {},
): RewardTerms<UserReward> {
  const parsed = checkedTerms(terms, options, { flag, otherTerms });
  const standardised = parsed.find(({ isNormalised }) => isNormalised);
  const unlisted = isTrained ? parsed.find(({ kind }) => kind !== 'listed') : undefined;
  if (standardised && (!isTrained || unlisted)) {
    const why = unlisted
      ? `statistics are kept of listed rewards alone, and '${unlisted.source}' is none`
      : 'scores without training have no statistics';
    throw new UsageError(`${flag}: '${standardised.source}' is normalised, but ${why}, expected no ':normalised'.`);
  }
  const check = async () => {
    for (const { kind, source } of parsed) if (kind === 'file') await openRewardFile(source, flag);
  };
  return { names: namesOf(parsed), files: filesOf(parsed), check, load: (onLoad) => loadScoredSum(parsed, onLoad) };
}

const filesOf = (terms: readonly Term[]): readonly string[] =>
  terms.filter(({ kind }) => kind === 'file').map(({ source }) => source);
const namesOf = (terms: readonly Term[]): readonly string[] => terms.map(({ name }) => name);

function checkedTerms(
  terms: readonly string[],
  options: RewardOptions,
  { flag, otherTerms }: Required<Pick<RewardTermsOptions, 'flag' | 'otherTerms'>>,
): readonly CheckedTerm[] {
  const parsed = terms.map((term) => parseTerm(term, flag));
  const names = namesOf(parsed);
  const duplicate = names.find((name, i) => names.indexOf(name) !== i);
  if (duplicate)
    throw new UsageError(`${flag}: '${duplicate}' is given twice. Give it once, with the sum of the weights.`);
  const byReward = parseRewardOptions(options, [...names, ...otherTerms.map(sourceOfTerm)]);
  const service = serviceOptions(byReward[serviceName]);
  const loads: Readonly<Record<Term['kind'], (source: string) => CheckedTerm['load']>> = {
    listed: (source) => listedReward(source, byReward[source] ?? {}),
    file: (source) => async () => (await openRewardFile(source, flag)).load(),
    http: (source) => () => Promise.resolve(httpReward(source, service)),
    command: (source) => () => Promise.resolve(commandReward(source.replace(/^exec:/, ''), service)),
  };
  return parsed.map((term) => ({ ...term, load: loads[term.kind](term.source) }));
}

async function loadAll(
  terms: readonly CheckedTerm[],
  onLoad: (text: string) => void = () => {},
): Promise<UserReward[]> {
  const rewards: UserReward[] = [];
  for (const { name, source, load } of terms) {
    if (hasWeights(name)) onLoad(`Loading the reward ${name}`);
    const tell = (duration: string) => onLoad(`Loaded the reward ${maskSecrets(name)} in ${duration}`);
    rewards.push(called(maskSecrets(source), await timed(tell, load))); // sequential: each may download gigabytes
  }
  return rewards;
}

/** Names a reward in the messages about it. A function that cannot be renamed keeps its name. */
function called<R extends UserReward>(name: string, reward: R): R {
  if (Object.getOwnPropertyDescriptor(reward, 'name')?.configurable !== false && Object.isExtensible(reward))
    Object.defineProperty(reward, 'name', { value: name, configurable: true });
  return reward;
}

async function loadSum(terms: readonly CheckedTerm[], onLoad?: (text: string) => void): Promise<RewardFunction> {
  const loaded = (await loadAll(terms, onLoad)) as RewardFunction[];
  if (loaded.length === 1 || loaded.every(isModelReward)) return sumOf(terms, loaded);
  // An engine cannot compile a sum that contains a plain function. It runs eagerly, with all weights in memory.
  const inMemory: RewardFunction[] = [];
  for (const reward of loaded) inMemory.push(isModelReward(reward) ? await loadReward(reward) : reward);
  return sumOf(terms, inMemory);
}

/** The weighted sum of rewards, each capped and standardised as its term says. */
function sumOf(terms: readonly Term[], rewards: readonly RewardFunction[]): RewardFunction {
  const parts = rewards.map((reward, i) => adjusted(reward, terms[i]!));
  if (parts.length === 1 && terms[0]!.weight === 1) return parts[0]!;
  return weightedSum(Object.fromEntries(terms.map(({ name, weight }, i) => [name, [parts[i]!, weight]])));
}

/** Caps and standardises a reward as its term says. The term's name stays in messages. */
function adjusted(reward: RewardFunction, { source, cap, isNormalised }: Term): RewardFunction {
  const limited = cap === Infinity ? reward : called(source, capped(reward as ModelReward, cap));
  return isNormalised ? called(source, normalised(limited as ModelReward)) : limited;
}

async function loadScoredSum(terms: readonly CheckedTerm[], onLoad?: (text: string) => void): Promise<UserReward> {
  const rewards = await loadAll(terms, onLoad);
  const isAlone = rewards.length === 1 && terms[0]!.weight === 1 && terms[0]!.cap === Infinity;
  if (isAlone) return rewards[0]!;
  const models = rewards as RewardFunction[];
  if (models.every(isModelReward)) return sumOf(terms, models); // one function to compile
  return scoredSum(
    Object.fromEntries(terms.map(({ name, weight, cap }, i) => [name, { reward: rewards[i]!, weight, cap }])),
  );
}
