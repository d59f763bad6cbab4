import type { Algorithm } from './algorithm.js';
import type { UserReward } from './reward-file.js';
import type { RewardTermOptions } from './reward-options.js';
import { blackBoxTerms, rewardTerms, type RewardTerms } from './reward-terms.js';

/** The reward that a run maximises where its options name none. */
export const defaultReward = 'jpeg-compressibility';

/** The options that name the rewards of a run. */
export interface RunRewardOptions extends RewardTermOptions {
  evalReward?: string | readonly string[];
  algorithm: Algorithm;
}

/** The rewards of a run. */
export interface RunRewards {
  /** Maximised. */
  readonly training: RewardTerms<UserReward>;
  /** Judges held-out prompts; undefined where that is `training`. */
  readonly evaluation?: RewardTerms<UserReward>;
}

/**
 * Parses the rewards of a run. AlignProp needs the gradient of the one it maximises, DDPO does not.
 * @param ddpoAdvice says how to train a reward that has no gradient
 * @throws UsageError as `rewardTerms` and `blackBoxTerms`
 */
export function runRewards(
  { reward = defaultReward, evalReward = [], rewardOption, algorithm }: RunRewardOptions,
  ddpoAdvice: string,
): RunRewards {
  const [training, evaluation] = [[reward].flat(), [evalReward].flat()];
  const trained =
    algorithm === 'ddpo'
      ? blackBoxTerms(training, rewardOption, { otherTerms: evaluation, isTrained: true })
      : rewardTerms(training, rewardOption, { otherTerms: evaluation, ddpoAdvice });
  if (evaluation.length === 0) return { training: trained };
  const flag = '--eval-reward';
  return { training: trained, evaluation: blackBoxTerms(evaluation, rewardOption, { flag, otherTerms: training }) };
}
