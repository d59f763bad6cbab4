import { sumOf } from '../graph/graph.js';
import type { OutputBuffer } from './session.js';

/** The buffers of one forward run. */
interface Block {
  readonly buffers: readonly OutputBuffer[];
  readonly bytes: number;
}

/**
 * A pool of memory for residuals, the activations that forward runs save for backward. Released blocks are reused by
 * the next run of the same graph: allocating and clearing a gigabyte takes longer than filling it, and JavaScript's
 * garbage collector frees late.
 */
export class ResidualMemory {
  readonly #spare = new Map<object, Block[]>();
  readonly #bytes = new Map<object, number>();

  /** Bytes allocated for each owner, both in use and spare. */
  get bytesByOwner(): ReadonlyMap<object, number> {
    return this.#bytes;
  }

  /** Bytes allocated, both in use and spare. */
  get bytes(): number {
    return sumOf(this.#bytes.values());
  }

  /**
   * Whether a run of `owner` can get a block of `bytes` without exceeding `limit` bytes in total. Frees the spare
   * blocks of other owners if that is necessary.
   */
  fits(owner: object, bytes: number, limit: number): boolean {
    const added = this.added(owner, bytes);
    if (this.bytes + added > limit) this.freeSpareBut(owner);
    return this.bytes + added <= limit;
  }

  /** Bytes that a run of `owner` adds which saves `bytes`: none if there is a spare block. */
  added(owner: object, bytes: number): number {
    return this.#spare.get(owner)?.length ? 0 : bytes;
  }

  /** @param allocate called if the owner has no spare block */
  acquire(owner: object, bytes: number, allocate: () => readonly OutputBuffer[]): readonly OutputBuffer[] {
    const spare = this.#spare.get(owner)?.pop();
    if (spare) return spare.buffers;
    const buffers = allocate();
    this.#bytes.set(owner, (this.#bytes.get(owner) ?? 0) + bytes);
    return buffers;
  }

  /** Makes a block available to the owner's next run. */
  release(owner: object, buffers: readonly OutputBuffer[], bytes: number): void {
    this.#spare.set(owner, [...(this.#spare.get(owner) ?? []), { buffers, bytes }]);
  }

  /** Frees the spare blocks of all owners but one. */
  freeSpareBut(owner: object): void {
    for (const other of [...this.#spare.keys()]) if (other !== owner) this.freeSpare(other);
  }

  /** Frees the spare blocks of an owner. */
  freeSpare(owner: object): void {
    for (const { buffers, bytes } of this.#spare.get(owner) ?? []) {
      buffers.forEach((buffer) => buffer.dispose());
      this.#bytes.set(owner, this.#bytes.get(owner)! - bytes);
    }
    this.#spare.delete(owner);
  }
}
