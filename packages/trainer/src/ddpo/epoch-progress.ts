import { z } from 'zod';
import type { Progress } from '../run/resumable-state.js';

const stateSchema = z.strictObject({
  epoch: z.int().min(0),
  rewards: z.array(z.tuple([z.string(), z.array(z.number())])),
});

/** The epochs that are complete, and the last rewards of each prompt: the state of DDPO besides weights. */
export class EpochProgress implements Progress {
  epoch = 0;
  /** The last rewards of each prompt. */
  readonly rewards = new Map<string, readonly number[]>();

  state(): z.output<typeof stateSchema> {
    return { epoch: this.epoch, rewards: [...this.rewards].map(([prompt, last]) => [prompt, [...last]]) };
  }

  /** @throws if the state has another form */
  restore(state: unknown): void {
    const { epoch, rewards } = stateSchema.parse(state);
    this.epoch = epoch;
    this.rewards.clear();
    for (const [prompt, last] of rewards) this.rewards.set(prompt, last);
  }
}
