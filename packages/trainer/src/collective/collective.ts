/**
 * A group of processes (ranks) that train together, as seen by one of them. All ranks make the same calls in the same
 * order. A call resolves when all ranks have made it, and the calls of one rank do not overlap.
 */
export interface Collective {
  /** 0 … size - 1. Rank 0 writes the files and logs. */
  readonly rank: number;
  readonly size: number;
  /**
   * All-reduce: replaces each value by its sum over all ranks, bit for bit the same on every rank. All ranks pass the
   * same number of values, which may be 0.
   */
  sum(values: Float32Array): Promise<void>;
  /** Replaces the values by those of rank 0. All ranks pass the same number of values. */
  broadcast(values: Float32Array): Promise<void>;
  /** All-gather: resolves to the bytes of all ranks, in the order of ranks. Lengths may differ. */
  gather(bytes: Uint8Array): Promise<readonly Uint8Array[]>;
  /** Resolves when all ranks have called it. */
  barrier(): Promise<void>;
  /**
   * Reports why this rank cannot continue and ends all ranks, which would otherwise wait for it forever. Does nothing
   * for a single process.
   */
  abort(cause: unknown): Promise<void>;
  /**
   * Disconnects once all ranks have called it. After an error on this rank alone, call `abort` instead.
   */
  close(): Promise<void>;
}

const nothing = (): Promise<void> => Promise.resolve();

/** The collective of a single process. */
export const singleProcess: Collective = {
  rank: 0,
  size: 1,
  sum: nothing,
  broadcast: nothing,
  gather: (bytes) => Promise.resolve([bytes]),
  barrier: nothing,
  abort: nothing,
  close: nothing,
};
