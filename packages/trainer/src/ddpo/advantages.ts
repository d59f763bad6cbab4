import { meanAndStd } from '../step/statistics.js';
import type { DDPOConfig } from './ddpo-config.js';

/** Compares the rewards of an epoch with usual ones: one number per image, positive for better ones. */
export type Advantages = (prompts: readonly string[], rewards: readonly number[]) => number[];

/** The advantages that a configuration asks for. @param history see `perPromptAdvantages` */
export const configuredAdvantages = (
  {
    per_prompt_stat_tracking: isPerPrompt,
    per_prompt_stat_tracking_buffer_size: bufferSize,
    per_prompt_stat_tracking_min_count: minCount,
  }: DDPOConfig,
  history: Map<string, readonly number[]>,
): Advantages => (isPerPrompt ? perPromptAdvantages({ bufferSize, minCount }, history) : epochAdvantages);

/** (r - mean) / (std + 1e-8), with mean and std of the epoch (ddof 0). */
export const epochAdvantages: Advantages = (_prompts, rewards) => standardised(rewards, rewards, 1e-8);

/**
 * (r - mean) / (std + 1e-6), with mean and std of the prompt's last rewards, those of this epoch included; of the whole
 * epoch where a prompt has fewer than `minCount` (Black et al. 2023, arXiv 2305.13301, §4.3; TRL's
 * `PerPromptStatTracker`).
 * @param options.bufferSize the number of last rewards of each prompt
 * @param history the last rewards of each prompt, to which those of each epoch are added
 */
export function perPromptAdvantages(
  { bufferSize, minCount }: { bufferSize: number; minCount: number },
  history: Map<string, readonly number[]> = new Map(),
): Advantages {
  return (prompts, rewards) => {
    const advantages = new Array<number>(rewards.length);
    for (const prompt of new Set(prompts)) {
      const indices = prompts.flatMap((other, i) => (other === prompt ? [i] : []));
      const promptRewards = indices.map((i) => rewards[i]!);
      const last = [...(history.get(prompt) ?? []), ...promptRewards].slice(-bufferSize);
      history.set(prompt, last);
      const values = standardised(promptRewards, last.length < minCount ? rewards : last, 1e-6);
      indices.forEach((index, i) => (advantages[index] = values[i]!));
    }
    return advantages;
  };
}

function standardised(rewards: readonly number[], population: readonly number[], epsilon: number): number[] {
  const { mean, std } = meanAndStd(population);
  return rewards.map((reward) => (reward - mean) / (std + epsilon));
}
