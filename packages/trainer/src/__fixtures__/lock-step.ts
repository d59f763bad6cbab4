import type { Collective } from '../collective/collective.js';

/**
 * Ranks that are simulated in one process and wait for each other as those of MPI do. `abort` rejects the calls that
 * wait and all later ones.
 */
export function lockStep(size: number): {
  readonly ranks: readonly Collective[];
  readonly aborted: { rank: number; cause: unknown }[];
} {
  const aborted: { rank: number; cause: unknown }[] = [];
  const meetings: Meeting[] = [];
  const meet = async <T>(rank: number, index: number, value: T): Promise<readonly T[]> => {
    const meeting = (meetings[index] ??= new Meeting(size));
    if (aborted.length > 0) meeting.fail();
    return meeting.join(rank, value) as Promise<readonly T[]>;
  };
  const ranks = Array.from({ length: size }, (_, rank): Collective => {
    let calls = 0;
    const all = <T>(value: T): Promise<readonly T[]> => meet(rank, calls++, value);
    return {
      rank,
      size,
      async sum(values) {
        const [first, ...others] = await all(values.slice());
        values.set(first!);
        for (const part of others) for (let i = 0; i < values.length; i++) values[i]! += part[i]!;
      },
      async broadcast(values) {
        values.set((await all(values.slice()))[0]!);
      },
      gather: (bytes) => all(bytes.slice()),
      async barrier() {
        await all(undefined);
      },
      abort(cause) {
        aborted.push({ rank, cause });
        meetings.forEach((meeting) => meeting.fail());
        return Promise.resolve();
      },
      async close() {
        await all(undefined);
      },
    };
  });
  return { ranks, aborted };
}

/** One call of each rank: resolves when all have joined. */
class Meeting {
  readonly #values: unknown[] = [];
  readonly #all: Promise<readonly unknown[]>;
  #settle!: { resolve: (values: readonly unknown[]) => void; reject: (error: Error) => void };
  #missing: number;

  constructor(size: number) {
    this.#missing = size;
    this.#all = new Promise((resolve, reject) => (this.#settle = { resolve, reject }));
    this.#all.catch(() => {}); // not an unhandled rejection where no rank waits
  }

  join(rank: number, value: unknown): Promise<readonly unknown[]> {
    this.#values[rank] = value;
    if (--this.#missing === 0) this.#settle.resolve(this.#values);
    return this.#all;
  }

  fail(): void {
    this.#settle.reject(new Error('another rank aborted'));
  }
}
