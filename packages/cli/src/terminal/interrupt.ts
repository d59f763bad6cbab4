import { Interrupted } from './errors.js';

const signals = ['SIGINT', 'SIGTERM'] as const;

/**
 * Runs work that Ctrl-C or SIGTERM can stop: the first one aborts the AbortSignal passed to the work, with an
 * `Interrupted` as its reason. A second one has its default effect and ends the process at once.
 * @param onInterrupt called at the first one, before the abort
 */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>, onInterrupt: () => void): Promise<T> {
  const controller = new AbortController();
  const stop = (name: NodeJS.Signals): void => {
    release();
    onInterrupt();
    controller.abort(new Interrupted(name as (typeof signals)[number]));
  };
  const release = (): void => signals.forEach((name) => process.off(name, stop));
  signals.forEach((name) => process.on(name, stop));
  try {
    return await work(controller.signal);
  } finally {
    release();
  }
}
