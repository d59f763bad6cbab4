import { inspect } from 'node:util';
import { maskSecrets, printable } from '@alignprop/autograd-ext/outside';
import { CommanderError } from 'commander';

/** Wrong usage that commander does not detect, such as a missing prompt. Exit code 2, as for an unknown flag. */
export class UsageError extends Error {}

/** The exit codes of work that a signal has stopped, 128 + its number, or a closed pipe (`| head`). */
const signalCodes = { SIGHUP: 129, SIGINT: 130, SIGPIPE: 141, SIGTERM: 143 } as const;

export type InterruptingSignal = keyof typeof signalCodes;

/** The work was stopped by a signal, after it saved its progress. */
export class Interrupted extends Error {
  constructor(readonly signal: InterruptingSignal) {
    super(`stopped by ${signal}`);
  }
}

/** An error of a run of several processes that another process reports. */
export class ReportedElsewhere extends Error {}

/** Exit code: 0 for requested help, 2 for wrong usage, 128 + signal number for signals, 1 otherwise. */
export function exitCode(error: unknown): number {
  if (error instanceof ReportedElsewhere) return exitCode(error.cause);
  if (error instanceof Interrupted) return signalCodes[error.signal];
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  return error instanceof UsageError ? 2 : 1;
}

/** Whether errors are printed with stack traces: with --debug or DEBUG=1. */
export const isDebugging = ({ debug }: { debug?: boolean }): boolean =>
  debug ?? ['1', 'true'].includes(process.env.DEBUG ?? '');

/** Returns the message of an error, at most 4000 characters; with `debug` all of it, its stack trace and causes. */
export function errorMessage(error: unknown, debug: boolean): string {
  if (debug) return printableLines(maskSecrets(inspect(error)));
  const message = printableLines(maskSecrets(error instanceof Error ? error.message : String(error)));
  const more = message.length - MAX_MESSAGE;
  return more > 0 ? `${message.slice(0, MAX_MESSAGE)}… (and ${more} characters more, with --debug)` : message;
}

const MAX_MESSAGE = 4000;

/** Writes control characters as escapes, except line ends: names in files could steer the terminal. */
export const printableLines = (text: string): string => text.split('\n').map(printable).join('\n');
