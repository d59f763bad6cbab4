/** The phases of a run whose time is counted. */
export type Phase = 'sampling' | 'gradient' | 'evaluation' | 'saving';

/** The seconds that a run has spent in each phase. Compiling counts where it happens. */
export class PhaseTimes {
  readonly #milliseconds: Record<Phase, number> = { sampling: 0, gradient: 0, evaluation: 0, saving: 0 };

  get seconds(): Readonly<Record<Phase, number>> {
    const entries = Object.entries(this.#milliseconds).map(([phase, time]) => [phase, time / 1000] as const);
    return Object.fromEntries(entries) as Record<Phase, number>;
  }

  /** Runs work, and adds its duration to a phase, also where the work fails. */
  async during<T>(phase: Phase, work: () => Promise<T>): Promise<T> {
    const started = performance.now();
    try {
      return await work();
    } finally {
      this.#milliseconds[phase] += performance.now() - started;
    }
  }
}
