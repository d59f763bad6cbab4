import type { Command } from 'commander';
import { collectValues } from './option-parsers.js';
import { rewardNames } from './reward-list.js';
import type { RewardOptions } from './reward-term-options.js';

/** Values of the options that select rewards. A configuration file may give them in other forms than flags do. */
export interface RewardTermOptions {
  reward?: string | readonly string[];
  rewardOption?: RewardOptions;
}

/**
 * Adds `--reward` and `--reward-option`.
 * @param purpose the beginning of the description of `--reward`
 * @param defaultReward shown in the description; the command itself applies it
 */
export function addRewardOptions(command: Command, purpose: string, defaultReward?: string): Command {
  return command
    .option(
      '--reward <name[:weight]>',
      `${purpose}: ${rewardNames.join(', ')}, or your own .js, .mjs or .ts file. ` +
        'Given several times, the weighted sum; name:cap=7 caps it.' +
        (defaultReward ? ` (default: ${defaultReward})` : ''),
      collectValues,
    )
    .option(
      '--reward-option <name.option=value>',
      'An option of a reward, such as the location of its weights: aesthetic.weights=./clip. See the README.',
      collectValues,
    );
}
