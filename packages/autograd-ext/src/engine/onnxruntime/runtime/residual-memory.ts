import type { Held } from './session.js';

interface Block {
  readonly held: readonly Held[];
  readonly bytes: number;
}

/**
 * Memory for what forward runs leave to their gradients. What is given back serves the next run of the same graph: the
 * system takes longer to hand out and clear a gigabyte than a run takes to fill it, and JavaScript frees late.
 */
export class ResidualMemory {
  readonly #spare = new Map<object, Block[]>();
  readonly #held = new Map<object, number>();

  /** Bytes by owner, in use or to spare. */
  get held(): ReadonlyMap<object, number> {
    return this.#held;
  }

  /**
   * Whether a run of `owner` finds so many bytes without more than `limit` being held; spare memory of others is given
   * up for it.
   */
  fits(owner: object, bytes: number, limit: number): boolean {
    const more = this.#spare.get(owner)?.length ? 0 : bytes;
    if (this.#total + more > limit) [...this.#spare.keys()].forEach((other) => other !== owner && this.forget(other));
    return this.#total + more <= limit;
  }

  /** @param make called where there is none to spare */
  take(owner: object, bytes: number, make: () => readonly Held[]): readonly Held[] {
    const spare = this.#spare.get(owner)?.pop();
    if (spare) return spare.held;
    const held = make();
    this.#held.set(owner, (this.#held.get(owner) ?? 0) + bytes);
    return held;
  }

  give(owner: object, held: readonly Held[], bytes: number): void {
    this.#spare.set(owner, [...(this.#spare.get(owner) ?? []), { held, bytes }]);
  }

  /** Frees what `owner` has to spare. */
  forget(owner: object): void {
    for (const { bytes } of this.#spare.get(owner) ?? []) this.#held.set(owner, this.#held.get(owner)! - bytes);
    this.#spare.delete(owner);
  }

  get #total(): number {
    return [...this.#held.values()].reduce((sum, bytes) => sum + bytes, 0);
  }
}
