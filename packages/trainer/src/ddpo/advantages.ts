import { meanAndStd } from '../step/statistics.js';

/** How much better each image of an epoch is than is usual; one number an image. */
export type Advantages = (prompts: readonly string[], rewards: readonly number[]) => number[];

/** (r - mean) / (std + 1e-8), over the epoch (ddof 0). */
export const epochAdvantages: Advantages = (_prompts, rewards) => standardised(rewards, rewards, 1e-8);

/**
 * (r - mean) / (std + 1e-6) over the last rewards of the same prompt, those of this epoch included; over the epoch's
 * where a prompt has fewer than `minCount` (Black et al. 2023, arXiv 2305.13301, §4.3; TRL's `PerPromptStatTracker`).
 * @param options.bufferSize rewards remembered of each prompt
 */
export function perPromptAdvantages({ bufferSize, minCount }: { bufferSize: number; minCount: number }): Advantages {
  const remembered = new Map<string, readonly number[]>();
  return (prompts, rewards) => {
    const advantages = new Array<number>(rewards.length);
    for (const prompt of new Set(prompts)) {
      const indices = prompts.flatMap((other, i) => (other === prompt ? [i] : []));
      const own = indices.map((i) => rewards[i]!);
      const known = [...(remembered.get(prompt) ?? []), ...own].slice(-bufferSize);
      remembered.set(prompt, known);
      const values = standardised(own, known.length < minCount ? rewards : known, 1e-6);
      indices.forEach((index, i) => (advantages[index] = values[i]!));
    }
    return advantages;
  };
}

function standardised(rewards: readonly number[], among: readonly number[], epsilon: number): number[] {
  const { mean, std } = meanAndStd(among);
  return rewards.map((reward) => (reward - mean) / (std + epsilon));
}
