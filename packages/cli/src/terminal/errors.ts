import { inspect } from 'node:util';
import { CommanderError } from 'commander';

/** A command that was given something it cannot run with: exit code 2, as for an unknown flag. */
export class UsageError extends Error {}

/** Work that a signal ended, after what was done so far was written. */
export class Interrupted extends Error {
  constructor(readonly signal: 'SIGINT' | 'SIGTERM') {
    super(`stopped by ${signal}`);
  }
}

/** An error that all processes of a run have, in one of those that do not report it. */
export class ReportedElsewhere extends Error {}

/**
 * 0 for help that was asked for, 2 for wrong usage, 130 and 143 for signals as shells count them, 1 for anything else.
 */
export function exitCode(error: unknown): number {
  if (error instanceof ReportedElsewhere) return exitCode(error.cause);
  if (error instanceof Interrupted) return error.signal === 'SIGINT' ? 130 : 143;
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  return error instanceof UsageError ? 2 : 1;
}

/** Whether errors are printed with everything there is to know. @param options those of the program */
export const isDebugging = ({ debug }: { debug?: boolean }): boolean =>
  debug ?? ['1', 'true'].includes(process.env.DEBUG ?? '');

/** One clear message; with `debug` everything there is to know, causes and stacks included. */
export function errorMessage(error: unknown, debug: boolean): string {
  if (debug) return inspect(error);
  return error instanceof Error ? error.message : String(error);
}
