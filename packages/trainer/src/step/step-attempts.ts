import type { Collective } from '../collective/collective.js';
import { agree, isShared, shared } from '../collective/exchange.js';
import type { Logger } from '../logger.js';
import { NonFiniteError } from '../optim/non-finite.js';
import { restoreGenerators, saveGenerators, type Generators, type GeneratorStates } from './generators.js';

/** The most draws in a row that may be non-finite; more are not chance. */
export const skipLimit = 10;

export interface StepAttemptsOptions {
  globalStep: number;
  /** With 'skip', a step that is not finite is drawn again. */
  onNonFinite: 'stop' | 'skip';
  generators: Generators;
  collective: Collective;
  logger: Logger;
}

/**
 * The attempts at one optimizer step. After an error all processes agree to draw the step again, or to stop; then the
 * generators are as before the first attempt.
 */
export class StepAttempts {
  readonly #options: StepAttemptsOptions;
  readonly #generatorStates: GeneratorStates;
  #skipped = 0;
  #isDrawn = false;

  constructor(options: StepAttemptsOptions) {
    this.#options = options;
    this.#generatorStates = saveGenerators(options.generators);
  }

  /** How often the step was drawn again; undefined unless non-finite steps are skipped. */
  get skipped(): number | undefined {
    return this.#options.onNonFinite === 'skip' ? this.#skipped : undefined;
  }

  /** Ends the attempts before the weights move: later errors pass, and the draws stand. */
  succeed(): void {
    this.#isDrawn = true;
  }

  /**
   * Returns if the step is to be drawn again: the generators are not rewound then, so the failing draw is not repeated.
   * @throws the error otherwise, on all ranks alike where they can agree on it
   */
  async recover(error: unknown, signal?: AbortSignal): Promise<void> {
    if (this.#isDrawn) throw error;
    const { onNonFinite, generators, logger } = this.#options;
    const failure = await this.#sharedError(error, signal);
    const isSkipped = failure instanceof NonFiniteError && onNonFinite === 'skip';
    if (isSkipped && ++this.#skipped < skipLimit) {
      logger.warn(`${failure.message} Drawn again (${this.#skipped} of at most ${skipLimit - 1} times).`);
      return;
    }
    restoreGenerators(generators, this.#generatorStates);
    if (!isSkipped) throw failure;
    throw new NonFiniteError(
      `${failure.message} ${skipLimit} times in a row: lower the learning rate, or look at the reward.`,
      { cause: failure },
    );
  }

  /** The error that all ranks throw: one on this rank may be another rank's as well. */
  async #sharedError(error: unknown, signal?: AbortSignal): Promise<unknown> {
    const { globalStep, collective } = this.#options;
    const agreed = isShared(error)
      ? error
      : await agree(collective, stepName(globalStep), error, signal).catch((thrown: unknown) => thrown);
    if (!(agreed instanceof NonFiniteError)) return agreed;
    const message = `AlignPropTrainer: at step ${globalStep} ${agreed.message} No weight was changed.`;
    return shared(new NonFiniteError(message, { cause: agreed }));
  }
}

/** Names a step in messages between processes. */
export const stepName = (globalStep: number): string => `step ${globalStep}`;
