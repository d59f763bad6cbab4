import { Interrupted } from './errors.js';

const signals = ['SIGINT', 'SIGTERM'] as const;

/**
 * Runs work that can be asked to stop: the first Ctrl-C (or SIGTERM) aborts the signal that the work is given. From
 * then on signals have their usual effect, so that a second one ends the process at once, whatever it is doing.
 * @param onInterrupt told when that happens
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
