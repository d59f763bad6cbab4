import { sumOf } from '../graph/graph.js';
import type { OutputBuffer } from './session.js';

/** The activations that one forward run saved for backward. */
export class SavedActivations {
  #users = 0;
  #buffers: readonly OutputBuffer[] | undefined;

  /** @param owner the function that saved them */
  constructor(
    readonly owner: object,
    readonly bytes: number,
    buffers: readonly OutputBuffer[],
  ) {
    this.#buffers = buffers;
  }

  /** Undefined once the memory was needed elsewhere: backward then runs forward again. */
  get buffers(): readonly OutputBuffer[] | undefined {
    return this.#buffers;
  }

  /** Whether a run reads or writes them. */
  get isBusy(): boolean {
    return this.#users > 0;
  }

  /** Keeps the memory while a run reads or writes it. */
  async hold<T>(run: () => Promise<T>): Promise<T> {
    this.#users++;
    try {
      return await run();
    } finally {
      this.#users--;
    }
  }

  /** The same memory for another run. What is left has none, so that a second release does not reach it. */
  handOver(): SavedActivations {
    const next = new SavedActivations(this.owner, this.bytes, this.#buffers!);
    this.#buffers = undefined;
    return next;
  }

  /** Frees the memory. */
  giveUp(): void {
    this.#buffers?.forEach((buffer) => buffer.dispose());
    this.#buffers = undefined;
  }
}

/**
 * A pool of memory for residuals, the activations that forward runs save for backward. Released blocks are reused by
 * the next run of the same graph: allocating and clearing a gigabyte takes longer than filling it, and JavaScript's
 * garbage collector frees late.
 */
export class ResidualMemory {
  /** The blocks of forward runs, the oldest first. */
  readonly #used = new Set<SavedActivations>();
  readonly #spare = new Map<object, SavedActivations[]>();

  /** Bytes allocated for each owner, both in use and spare. */
  get bytesByOwner(): ReadonlyMap<object, number> {
    const bytes = new Map<object, number>();
    for (const block of this.#blocks) bytes.set(block.owner, (bytes.get(block.owner) ?? 0) + block.bytes);
    return bytes;
  }

  /** Bytes allocated, both in use and spare. */
  get bytes(): number {
    return sumOf(this.#blocks.map(({ bytes }) => bytes));
  }

  /** Bytes in use. */
  get bytesInUse(): number {
    return sumOf([...this.#used].map(({ bytes }) => bytes));
  }

  /** Bytes that a run of `owner` adds which saves `bytes`: none if there is a spare block. */
  added(owner: object, bytes: number): number {
    return this.#spare.get(owner)?.length ? 0 : bytes;
  }

  /** @param allocate called if the owner has no spare block */
  acquire(owner: object, bytes: number, allocate: () => readonly OutputBuffer[]): SavedActivations {
    const block = this.#spare.get(owner)?.pop() ?? new SavedActivations(owner, bytes, allocate());
    this.#used.add(block);
    return block;
  }

  /** Makes a block available to the owner's next run. Further calls do nothing. */
  release(block: SavedActivations): void {
    if (!this.#used.delete(block)) return;
    this.#spare.set(block.owner, [...(this.#spare.get(block.owner) ?? []), block.handOver()]);
  }

  /** Frees the oldest block that no run reads or writes. @returns whether there was one */
  giveUpOldest(): boolean {
    const oldest = [...this.#used].find(({ isBusy }) => !isBusy);
    oldest?.giveUp();
    return oldest !== undefined && this.#used.delete(oldest);
  }

  /** Frees all blocks of an owner. */
  free(owner: object): void {
    for (const block of this.#used) if (block.owner === owner) this.release(block);
    this.freeSpare(owner);
  }

  /** Frees the spare blocks of all owners but one. */
  freeSpareBut(owner: object): void {
    for (const other of [...this.#spare.keys()]) if (other !== owner) this.freeSpare(other);
  }

  /** Frees the spare blocks of an owner. */
  freeSpare(owner: object): void {
    this.#spare.get(owner)?.forEach((block) => block.giveUp());
    this.#spare.delete(owner);
  }

  get #blocks(): readonly SavedActivations[] {
    return [...this.#used, ...[...this.#spare.values()].flat()];
  }
}
