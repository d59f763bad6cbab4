import type { Tensor4D } from '@tensorflow/tfjs-core';
import type { BatchScores, RewardContext, RewardScorer } from '@alignprop/rewards/interface';
import type { Logger } from '../logger.js';

/** Thrown when a reward has failed and is not called again. */
export class RewardError extends Error {
  override readonly name = 'RewardError';
}

export interface RewardCallsOptions<M> {
  scorer: RewardScorer<M>;
  /** The number of times that a call that fails is repeated. */
  retries: number;
  logger: Logger;
}

/** Calls a reward for batches of images, and calls it again when it fails. */
export class RewardCalls<M> {
  readonly #options: RewardCallsOptions<M>;

  constructor(options: RewardCallsOptions<M>) {
    this.#options = options;
  }

  /** Names the reward in messages. */
  get name(): string {
    return this.#options.scorer.name;
  }

  /**
   * Scores images `[B, H, W, 3]`, which stay the caller's. Waits 1, 2, 4 … seconds, at most 60, between two calls.
   * @throws RewardError after the last call; the reason of an aborted signal
   */
  async score(
    images: Tensor4D,
    prompts: readonly string[],
    promptMetadata: readonly M[],
    context: RewardContext,
    signal?: AbortSignal,
  ): Promise<BatchScores> {
    const { scorer, retries, logger } = this.#options;
    for (let attempt = 1; ; attempt++) {
      try {
        return await scorer.score(images, prompts, promptMetadata, context);
      } catch (cause) {
        signal?.throwIfAborted();
        const { message } = cause as Error;
        if (attempt > retries)
          throw new RewardError(attempt > 1 ? `${message} (${attempt} calls)` : message, { cause });
        const seconds = Math.min(60, 2 ** (attempt - 1));
        logger.warn(`${message} The reward is called again in ${seconds} s (${attempt} of ${retries} times).`);
        await pause(seconds, signal);
      }
    }
  }
}

/** Waits. @throws the reason of a signal that is aborted meanwhile */
async function pause(seconds: number, signal?: AbortSignal): Promise<void> {
  let end = (): void => {};
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    end = () => (clearTimeout(timer), resolve());
    signal?.addEventListener('abort', end);
  });
  signal?.removeEventListener('abort', end);
  signal?.throwIfAborted();
}
