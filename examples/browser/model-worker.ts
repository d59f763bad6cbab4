import type { Failure, OpenedModel, Outcome, Picture, Report, Task } from './messages.js';

/** The result of each kind of task; undefined where it was stopped. */
interface Results {
  open: OpenedModel;
  draw: readonly Picture[] | undefined;
  train: undefined;
}

/** A task that failed. */
export class TaskError extends Error {
  override readonly name = 'TaskError';
  /** The line of the reward's text that the error comes from. */
  readonly line: number | undefined;

  constructor({ message, line }: Failure) {
    super(message);
    this.line = line;
  }
}

/** The worker with the model, seen from the page. It works on one task at a time. */
export class ModelWorker {
  readonly #worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' });
  #fail: (error: TaskError) => void = () => {};

  /** @throws TaskError if the task fails, or the worker is ended meanwhile */
  perform<K extends Task['kind']>(
    task: Task & { readonly kind: K },
    onReport: (report: Report) => void = () => {},
  ): Promise<Results[K]> {
    return new Promise((resolve, reject) => {
      this.#fail = reject;
      this.#worker.onerror = ({ message }) => reject(new TaskError({ message: `The worker failed: ${message}` }));
      this.#worker.onmessage = ({ data }: MessageEvent<Report | Outcome>) => {
        if (data.kind === 'done') resolve(data.result as Results[K]);
        else if (data.kind === 'failed') reject(new TaskError(data));
        else onReport(data);
      };
      this.#worker.postMessage(task);
    });
  }

  /** Asks for the end of the task: after the current denoising step. */
  stop(): void {
    this.#worker.postMessage('stop');
  }

  /** Ends the worker at once, whatever it does. */
  end(): void {
    this.#worker.terminate();
    this.#fail(new TaskError({ message: 'Stopped at once.' }));
  }
}
