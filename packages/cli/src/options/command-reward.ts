import { spawn, type ChildProcessByStdio } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import type { BlackBoxReward } from '@alignprop/rewards';
import { outsideRun } from '@alignprop/rewards/interface';
import {
  MAX_ANSWER,
  parseAnswer,
  rewardRequest,
  shortened,
  TransientError,
  withRetries,
  type ServiceOptions,
} from './reward-protocol.js';

type Child = ChildProcessByStdio<Writable, Readable, Readable>;

/**
 * A reward computed by another program: starts the command once, writes each batch as a line of JSON
 * (`rewardRequest`) to its stdin, and reads a line with the scores from its stdout. Starts it again after it ended. The
 * program ends with this process, or when its stdin is closed.
 * @throws when called, if the command ends or does not answer in time, or answers with something else
 */
export function commandReward(command: string, options: ServiceOptions): BlackBoxReward {
  let program: Program | undefined;
  let last: Promise<unknown> = Promise.resolve(); // the program gets one request at a time
  const ask = async (request: string): Promise<string> => {
    if (!program?.isRunning) program = new Program(command);
    return program.ask(request, options.timeout);
  };
  return async (images, prompts, metadata, context = outsideRun) => {
    const request = await rewardRequest(images, prompts, metadata, context);
    const answer = last.then(() => withRetries(() => ask(request), options));
    last = answer.catch(() => {});
    return parseAnswer(await answer);
  };
}

/** A running command. It does not keep this process alive, and ends with it. */
class Program {
  readonly #child: Child;
  #errors = '';
  #text = '';
  #settle: { resolve: (line: string) => void; reject: (error: Error) => void } | undefined;
  isRunning = true;

  constructor(command: string) {
    const child = spawn(command, { shell: true, stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child = child;
    const stop = () => void child.kill();
    process.once('exit', stop);
    child.stdout.setEncoding('utf8').on('data', (text: string) => this.#read(text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (this.#errors = (this.#errors + text).slice(-2000)));
    child.stdin.on('error', () => {}); // 'close' reports the end
    child.once('error', (error) => this.#end(error.message));
    child.once('close', (code, signal) => {
      process.off('exit', stop);
      this.#end(`it ended with ${signal ?? `exit code ${code}`}`);
    });
    this.#keepAlive(false);
  }

  /** Writes a request and waits for the line of its answer. @throws TransientError */
  async ask(request: string, timeout: number): Promise<string> {
    this.#keepAlive(true);
    const timer = setTimeout(() => {
      this.#end(`it wrote no line within ${timeout} s. Let it answer each line of stdin with a line, and flush stdout`);
      this.#child.kill();
    }, timeout * 1000);
    try {
      return await new Promise<string>((resolve, reject) => {
        this.#settle = { resolve, reject };
        this.#child.stdin.write(`${request}\n`);
      });
    } finally {
      clearTimeout(timer);
      this.#settle = undefined;
      this.#keepAlive(false);
    }
  }

  /** Skips lines that are not JSON, such as those that libraries print. */
  #read(text: string): void {
    const lines = (this.#text + text).split('\n');
    this.#text = lines.pop()!;
    if (this.#text.length > MAX_ANSWER) {
      this.#text = '';
      this.#end(`it wrote a line of more than ${MAX_ANSWER} characters`);
      this.#child.kill();
    }
    const answer = lines.find((line) => /^\s*[[{]/.test(line));
    if (answer !== undefined) this.#settle?.resolve(answer);
  }

  #end(reason: string): void {
    this.isRunning = false;
    const printed = shortened(this.#errors.trim().split('\n').at(-1) ?? '');
    this.#settle?.reject(new TransientError(`the command failed: ${reason}.${printed && ` Its stderr: ${printed}`}`));
  }

  #keepAlive(isAlive: boolean): void {
    const { stdin, stdout, stderr } = this.#child;
    for (const part of [this.#child, stdin, stdout, stderr] as { ref?(): void; unref?(): void }[])
      if (isAlive) part.ref?.();
      else part.unref?.();
  }
}
