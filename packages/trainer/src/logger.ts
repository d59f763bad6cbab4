/** Takes what a run has to say besides its results. */
export interface Logger {
  info(message: string): void;
  warn(message: string): void;
}

export const silent: Logger = { info: () => {}, warn: () => {} };
