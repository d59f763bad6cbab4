/** Receives the messages of a run: what is not a metric. */
export interface Logger {
  info(message: string): void;
  warn(message: string): void;
}

/** Drops all messages. */
export const silent: Logger = { info: () => {}, warn: () => {} };
