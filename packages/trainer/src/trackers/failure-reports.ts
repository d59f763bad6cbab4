import type { Tracker } from './tracker.js';

/**
 * Calls functions of the user's that report a run. Their errors become warnings, one for each kind of call, so that
 * a network error of a tracker loses no training.
 */
export class FailureReports {
  readonly #warn: (message: string) => void;
  readonly #reported = new Set<string>();

  constructor(warn: (message: string) => void) {
    this.#warn = warn;
  }

  /** Calls a function. @param name names the call in the warning */
  async attempt(name: string, call: () => unknown): Promise<void> {
    try {
      await call();
    } catch (error) {
      if (this.#reported.has(name)) return;
      this.#reported.add(name);
      const message = error instanceof Error ? error.message : String(error);
      this.#warn(`${name} failed: ${message}. Training goes on; further failures of this call are not reported.`);
    }
  }

  /** Wraps a tracker so that all of its calls are attempts. @param name names it in warnings */
  guard(name: string, tracker: Tracker): Tracker {
    const attempt = (method: string, call: () => unknown) => this.attempt(`${name}.${method}`, call);
    return {
      log: (metrics) => attempt('log', () => tracker.log(metrics)),
      logEvaluation: (metrics) => attempt('logEvaluation', () => tracker.logEvaluation?.(metrics)),
      ...(tracker.logImages && {
        logImages: (...images) => attempt('logImages', () => tracker.logImages!(...images)),
      }),
      logEvaluationImages: (...images) =>
        attempt('logEvaluationImages', () => tracker.logEvaluationImages?.(...images)),
      close: () => attempt('close', () => tracker.close()),
    };
  }
}
