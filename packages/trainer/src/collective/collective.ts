/**
 * Processes that train together, as this one sees them. Every rank makes the same calls in the same order; a call comes
 * back when all ranks have made it. Calls of one rank do not overlap.
 */
export interface Collective {
  /** 0 … size - 1. Rank 0 writes files and tells of the run. */
  readonly rank: number;
  readonly size: number;
  /**
   * Replaces each value by its sum over all ranks: the same sums, to the bit, on every rank. As many values on each, 0
   * included.
   */
  sum(values: Float32Array): Promise<void>;
  /** Replaces the values by those of rank 0. As many on each. */
  broadcast(values: Float32Array): Promise<void>;
  /** The bytes of all ranks in their order, of any lengths. */
  gather(bytes: Uint8Array): Promise<readonly Uint8Array[]>;
  barrier(): Promise<void>;
  /**
   * Says why this rank cannot go on, and ends all of them, which would wait for it for ever. With one process it does
   * nothing.
   */
  abort(cause: unknown): Promise<void>;
  /**
   * Ends the connection once all ranks have called it. After an error on this rank alone, `abort` has to be called
   * instead.
   */
  close(): Promise<void>;
}

const nothing = (): Promise<void> => Promise.resolve();

/** One process. */
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
