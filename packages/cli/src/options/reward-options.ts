import type { Command } from 'commander';
import { rewardNames } from './reward-list.js';
import type { RewardOptions } from './reward-terms.js';

export interface RewardTermOptions {
  reward?: string | readonly string[];
  rewardOption?: RewardOptions;
}

/** Adds the options that say what images are judged by. */
export function rewardOptions(command: Command, purpose: string): Command {
  return command
    .option(
      '--reward <name[:weight]>',
      `${purpose}: ${rewardNames.join(', ')}, or your own .js, .mjs or .ts file; several are added up.`,
      collect,
    )
    .option(
      '--reward-option <name.option=value>',
      'An option of a reward, such as where its weights lie: aesthetic.weights=./clip; see the README.',
      collect,
    );
}

/** Of an option that may be given several times. */
export const collect = (value: string, previous: readonly string[] = []): readonly string[] => [...previous, value];
