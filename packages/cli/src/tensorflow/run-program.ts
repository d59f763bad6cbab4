import { spawn } from 'node:child_process';

/** The end of a program. */
export interface ProgramResult {
  /** The exit code; null if a signal ended the program. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs a program without a shell and collects its output.
 * @returns undefined if there is no program of that name
 */
export function runProgram(program: string, args: readonly string[]): Promise<ProgramResult | undefined> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let [stdout, stderr] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.on('error', (error: NodeJS.ErrnoException) => (error.code === 'ENOENT' ? resolve(undefined) : reject(error)));
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
}

/** The last lines of a program's output, for an error. */
export const lastLines = (text: string): string => text.trimEnd().split('\n').slice(-8).join('\n');
