import { record } from '@alignprop/autograd-ext/outside';
import { isListedReward } from './reward-list.js';
import { optionsByReward, serviceName, type OptionsByReward, type RewardOptions } from './reward-term-options.js';
import { sourceOfTerm } from './reward-term.js';

/** The options of the rewards of a run that is resumed. */
interface JoinedRewardOptions {
  readonly options: OptionsByReward;
  /** Stored options of rewards that the run no longer has, as `reward.option=value`. */
  readonly dropped: readonly string[];
}

/**
 * Joins the options that a run has stored with those that are given when it is resumed, which go first. Leaves out
 * stored options of rewards that are no longer there.
 * @param terms those of the reward and of the evaluation's reward
 */
export function joinRewardOptions(
  stored: RewardOptions,
  given: RewardOptions,
  terms: readonly string[],
): JoinedRewardOptions {
  const owners = new Set(terms.map((term) => ownerOf(sourceOfTerm(term))));
  const options = Object.assign(record<Readonly<Record<string, unknown>>>(), optionsByReward(given));
  const dropped: string[] = [];
  for (const [name, values] of Object.entries(optionsByReward(stored)))
    if (owners.has(name)) options[name] = { ...values, ...options[name] };
    else dropped.push(...Object.entries(values).map(([option, value]) => `${name}.${option}=${String(value)}`));
  return { options, dropped };
}

/** The name under which a reward has its options. */
const ownerOf = (source: string): string => (isListedReward(source) ? source : serviceName);
