import { Interrupted, type InterruptingSignal } from './errors.js';

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * Runs work that Ctrl-C, SIGTERM, a closed terminal (SIGHUP) or a closed pipe (`| head`) can stop: the first one aborts
 * the AbortSignal passed to the work, with an `Interrupted` as its reason. A second signal has its default effect and
 * ends the process at once.
 * @param onInterrupt called at the first signal, before the abort
 */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>, onInterrupt: () => void): Promise<T> {
  const controller = new AbortController();
  const stop = (name: InterruptingSignal): void => {
    release();
    if (name !== 'SIGPIPE') onInterrupt();
    controller.abort(new Interrupted(name));
  };
  const stopBySignal = (name: NodeJS.Signals): void => stop(name as InterruptingSignal);
  const stopByPipe = (error: NodeJS.ErrnoException): void => {
    if (error.code === 'EPIPE') stop('SIGPIPE');
  };
  const release = (): void => {
    signals.forEach((name) => process.off(name, stopBySignal));
    for (const stream of [process.stdout, process.stderr]) stream.off('error', stopByPipe);
  };
  signals.forEach((name) => process.on(name, stopBySignal));
  for (const stream of [process.stdout, process.stderr]) stream.on('error', stopByPipe);
  try {
    return await work(controller.signal);
  } finally {
    release();
  }
}
