import { HubRefusal, HubUnreachableError } from './hub-request.js';
import type { HubSettings } from './hub-settings.js';

/** Attempts without progress, after which a request is given up. */
const ATTEMPTS = 5;
/** The longest pause in seconds, unless the hub asks for one. */
const LONGEST_PAUSE = 8;
/** The longest wait in seconds that the hub may ask for. */
const LONGEST_WAIT = 60;

/** Whether another attempt may succeed: no answer, a time limit, too many requests, or a fault of the hub. */
export const isTransient = (error: unknown): boolean =>
  error instanceof HubUnreachableError || (error instanceof HubRefusal && isTransientStatus(error.status));

const isTransientStatus = (status: number): boolean => status === 408 || status === 429 || status >= 500;

/** Counts failed attempts, and waits before the next one. */
export class Retries {
  #failures = 0;
  readonly #settings: HubSettings;

  constructor(settings: HubSettings) {
    this.#settings = settings;
  }

  /** Starts to count again: an attempt has made progress. */
  reset(): void {
    this.#failures = 0;
  }

  /**
   * Waits before the next attempt: as long as the hub asks, else `retryDelay`, doubled after each failure.
   * @param mayRetry whether another attempt may succeed
   * @throws `error` if there is to be no other attempt, or the reason of the signal
   */
  async afterFailure(error: unknown, mayRetry = isTransient(error)): Promise<void> {
    const { retryDelay, signal } = this.#settings;
    const asked = error instanceof HubRefusal ? error.wait : undefined;
    if (++this.#failures === ATTEMPTS || !mayRetry || (asked ?? 0) > LONGEST_WAIT) throw error;
    await pause(asked ?? Math.min(LONGEST_PAUSE, retryDelay * 2 ** (this.#failures - 1)), signal);
  }
}

/** Calls `attempt` until it succeeds or its error is not transient, at most five times. */
export async function withRetries<T>(settings: HubSettings, attempt: () => Promise<T>): Promise<T> {
  const retries = new Retries(settings);
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      await retries.afterFailure(error);
    }
  }
}

/** Waits. @throws the reason of the signal as soon as that is aborted */
export async function pause(seconds: number, signal: AbortSignal | undefined): Promise<void> {
  const { setTimeout } = await import('node:timers/promises');
  await setTimeout(seconds * 1000, undefined, { signal }).catch(() => {}); // the next line throws the reason itself
  signal?.throwIfAborted();
}
