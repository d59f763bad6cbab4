/** Two adjacent tokens that may be merged. */
export interface Merge {
  /** The lowest is applied first. */
  readonly rank: number;
  /** The position of the left token; the lowest of equal ranks is applied first. */
  readonly at: number;
}

const isBefore = (a: Merge, b: Merge): boolean => a.rank < b.rank || (a.rank === b.rank && a.at < b.at);

/** A queue of merges by rank, then by position: a binary heap. */
export class MergeQueue {
  readonly #heap: Merge[] = [];

  push(merge: Merge): void {
    const heap = this.#heap;
    let i = heap.push(merge) - 1;
    for (let parent = (i - 1) >> 1; i > 0 && isBefore(merge, heap[parent]!); parent = (i - 1) >> 1) {
      heap[i] = heap[parent]!;
      i = parent;
    }
    heap[i] = merge;
  }

  /** Removes and returns the first merge; undefined if there is none. */
  pop(): Merge | undefined {
    const heap = this.#heap;
    const [first, last] = [heap[0], heap.pop()];
    if (heap.length === 0 || last === undefined) return first;
    let i = 0;
    for (let child = 1; child < heap.length; child = 2 * i + 1) {
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!isBefore(heap[child]!, last)) break;
      heap[i] = heap[child]!;
      i = child;
    }
    heap[i] = last;
    return first;
  }
}
