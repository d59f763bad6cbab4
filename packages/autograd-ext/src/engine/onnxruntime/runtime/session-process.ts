import type { ChildProcess } from 'node:child_process';

/** A request that the process has not answered yet. */
interface Pending {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** An answer of session-host.js; number 0 says that it has started. */
interface Answer {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: string;
}

/** A process of its own in which sessions run. It does not keep the program alive, and ends with it. */
export class SessionProcess {
  readonly #child: ChildProcess;
  readonly #pending = new Map<number, Pending>();
  readonly #kill = () => void this.#child.kill('SIGKILL');
  /** The number of sessions and buffers in the process. */
  users = 0;
  #count = 0;
  #problem: Error | undefined;

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.on('message', (answer: Answer) => this.#settle(answer));
    child.on('error', (error) => this.#fail(error));
    child.on('exit', (code, signal) => this.#fail(endOf(code, signal)));
    process.on('exit', this.#kill);
  }

  /**
   * Starts the process.
   * @throws if this program may not start processes, or the process does not load ONNX Runtime
   */
  static async start(): Promise<SessionProcess> {
    const [{ fork }, { fileURLToPath }, { access }] = await Promise.all([
      import('node:child_process'),
      import('node:url'),
      import('node:fs/promises'),
    ]);
    // Typed as string, so that bundlers leave it to Node: a bundle for browsers has no such file.
    const name: string = './session-host.js';
    const program = fileURLToPath(new URL(/* webpackIgnore: true */ /* @vite-ignore */ name, import.meta.url));
    await access(program);
    const child = fork(program, {
      serialization: 'advanced',
      execArgv: [],
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      env: environment(process.env),
    });
    const started = new SessionProcess(child);
    await started.#answer(0);
    return started;
  }

  /** Why the process has ended; undefined while it runs. */
  get problem(): Error | undefined {
    return this.#problem;
  }

  /**
   * Sends a request and returns its answer.
   * @throws the error of the request, or one that says how the process ended
   */
  request<T>(kind: string, message: object): Promise<T> {
    const id = ++this.#count;
    const answer = this.#answer(id);
    try {
      // A message that a process cannot be sent any more is answered by its end.
      if (!this.#problem) this.#child.send({ ...message, id, kind }, () => undefined);
    } catch (error) {
      this.#settle({ id, error: (error as Error).message });
    }
    return answer as Promise<T>;
  }

  /** Sends a request that has no answer; a process that has ended needs none. */
  tell(kind: string, message: object): void {
    if (!this.#problem) this.#child.send({ ...message, kind }, () => undefined);
  }

  /** Ends the process. */
  end(): void {
    this.#problem ??= new Error('its process was ended.');
    process.off('exit', this.#kill);
    if (this.#child.connected) this.#child.disconnect();
  }

  /** Waits for an answer. The program stays alive meanwhile. */
  #answer(id: number): Promise<unknown> {
    if (this.#problem) return Promise.reject(this.#problem);
    this.#child.ref();
    this.#child.channel?.ref();
    return new Promise((resolve, reject) => this.#pending.set(id, { resolve, reject }));
  }

  #settle({ id, result, error }: Answer): void {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    if (this.#pending.size === 0) this.#rest();
    if (error === undefined) pending?.resolve(result);
    else pending?.reject(new Error(error));
  }

  /** Lets the program end. */
  #rest(): void {
    this.#child.unref();
    this.#child.channel?.unref();
  }

  #fail(problem: Error): void {
    process.off('exit', this.#kill);
    this.#problem ??= problem;
    for (const { reject } of this.#pending.values()) reject(this.#problem);
    this.#pending.clear();
  }
}

/**
 * The environment of the process. Activations are gigabytes that are allocated again in every run, and the system
 * clears each page that it gives out. So memory comes in transparent huge pages, where Linux's setting for them is
 * 'madvise' or 'always', and freed blocks below 32 MiB stay in the process, which is the most that glibc allows.
 */
export function environment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const given = env.GLIBC_TUNABLES ? env.GLIBC_TUNABLES.split(':') : [];
  const isGiven = (tunable: string) => given.some((other) => other.split('=')[0] === tunable.split('=')[0]);
  const tunables = [...given, ...memoryTunables.filter((tunable) => !isGiven(tunable))].join(':');
  return { ...env, ORT_DISABLE_TELEMETRY: env.ORT_DISABLE_TELEMETRY ?? '1', GLIBC_TUNABLES: tunables };
}

const memoryTunables = [
  'glibc.malloc.hugetlb=1',
  `glibc.malloc.mmap_threshold=${2 ** 25}`,
  `glibc.malloc.trim_threshold=${2 ** 28}`,
];

function endOf(code: number | null, signal: NodeJS.Signals | null): Error {
  const how = signal ? `was ended by ${signal}` : `ended with status ${code}`;
  const why = signal === 'SIGKILL' ? ', as the system does if memory runs out' : '';
  return new Error(`its process ${how}${why}. Call dispose() of the engine before it computes again.`);
}
