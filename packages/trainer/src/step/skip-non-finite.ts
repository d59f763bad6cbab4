import { restoreGenerators, saveGenerators, type Generators } from './generators.js';
import type { Logger } from '../logger.js';
import { NonFiniteError } from '../optim/non-finite.js';
import type { StepCollector } from './step-collector.js';

/** So many steps in a row are skipped at most: what comes then is not chance. */
export const skipLimit = 10;

/**
 * Draws again where what a step collected is not finite, with a warning; how often is in the metrics.
 * @param collect one that leaves the generators behind what it drew when it throws a NonFiniteError (`on_nonfinite:
 *   'skip'`)
 * @returns one that throws the NonFiniteError of the tenth time in a row, and then, as with any error, leaves the
 *   generators as before the step
 */
export function skippingNonFinite<M>(
  collect: StepCollector<M>,
  generators: Generators,
  logger: Logger,
): StepCollector<M> {
  return async (globalStep, signal) => {
    const before = saveGenerators(generators);
    try {
      for (let skipped = 0; ;) {
        const collected = await collect(globalStep, signal).catch((error: unknown) => skip(error, ++skipped, logger));
        if (collected) return { ...collected, metrics: { ...collected.metrics, skipped } };
      }
    } catch (error) {
      restoreGenerators(generators, before);
      throw error;
    }
  };
}

function skip(error: unknown, skipped: number, logger: Logger): undefined {
  if (!(error instanceof NonFiniteError)) throw error;
  if (skipped === skipLimit)
    throw new NonFiniteError(
      `${error.message} ${skipLimit} times in a row: lower the learning rate, or look at the reward.`,
      { cause: error },
    );
  logger.warn(`${error.message} Drawn again (${skipped} of at most ${skipLimit - 1} times).`);
}
