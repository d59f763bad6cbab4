import { excerptJson } from '@alignprop/autograd-ext/outside';
import { MergeQueue } from './merge-queue.js';

/** A vocabulary with merges of byte-pair encoding. */
export interface BytePairVocabulary {
  /** The ids of tokens. */
  readonly vocab: ReadonlyMap<string, number>;
  /** The merges in order of priority, such as 'a b'. */
  readonly merges: readonly string[];
  /** The token for characters that are not in the vocabulary. */
  readonly unknown: string;
  /** The folder that it was read from, for messages. */
  readonly location?: string;
}

/** Returns the largest id; -1 if there is none. Vocabularies have tens of thousands. */
export function largestId(ids: Iterable<number>): number {
  let most = -1;
  for (const id of ids) if (id > most) most = id;
  return most;
}

/** Ends the last token of a word. */
export const END_OF_WORD = '</w>';

/**
 * CLIP's byte-pair encoding (arXiv 1508.07909), as in Hugging Face's tokenizers: always applies the merge of highest
 * priority, the leftmost one of several. Takes O(n log n) time for a word of n characters.
 */
export class BytePairEncoder {
  readonly #ids: ReadonlyMap<string, number>;
  readonly #unknown: number | undefined;
  /** The rank of the merge of two tokens, by `#pair`. */
  readonly #ranks = new Map<number, number>();
  /** The id of the merged token, by rank. */
  readonly #merged: readonly number[];
  readonly #stride: number;
  readonly #location: string;

  /** @throws if a merge has tokens that are not in the vocabulary */
  constructor({ vocab, merges, unknown, location }: BytePairVocabulary) {
    this.#location = location === undefined ? '' : ` of '${location}'`;
    this.#ids = vocab;
    this.#unknown = this.#ids.get(unknown);
    this.#stride = largestId(vocab.values()) + 1;
    this.#merged = merges.map((merge, rank) => {
      const [left, right] = merge.split(' ') as [string, string];
      this.#ranks.set(this.#pair(this.#known(left, merge), this.#known(right, merge)), rank);
      return this.#known(left + right, merge);
    });
  }

  /** Returns the ids of the tokens of a word, whose characters are bytes; see `toByteCharacters`. */
  encode(word: string): number[] {
    const ids = this.#characterIds(word);
    const previous = ids.map((_, i) => i - 1);
    const next = ids.map((_, i) => i + 1);
    const queue = new MergeQueue();
    const offer = (left: number): void => {
      const right = next[left]!;
      const rank = left < 0 || right >= ids.length ? undefined : this.#ranks.get(this.#pair(ids[left]!, ids[right]!));
      if (rank !== undefined) queue.push({ rank, at: left });
    };
    for (let i = 0; i + 1 < ids.length; i++) offer(i);
    for (let merge = queue.pop(); merge; merge = queue.pop()) {
      const { rank, at } = merge;
      const right = next[at]!;
      // Other merges may have changed the pair since it was offered.
      if (ids[at] === GONE || right >= ids.length || this.#ranks.get(this.#pair(ids[at]!, ids[right]!)) !== rank)
        continue;
      ids[at] = this.#merged[rank]!;
      ids[right] = GONE;
      next[at] = next[right]!;
      if (next[at]! < ids.length) previous[next[at]!] = at;
      if (previous[at]! >= 0) offer(previous[at]!);
      offer(at);
    }
    return ids.filter((id) => id !== GONE);
  }

  #characterIds(word: string): number[] {
    const characters = [...word];
    return characters.flatMap((character, i) => {
      const token = i === characters.length - 1 ? character + END_OF_WORD : character;
      return this.#ids.get(token) ?? this.#unknown ?? [];
    });
  }

  #known(token: string, merge: string): number {
    const id = this.#ids.get(token);
    if (id !== undefined) return id;
    throw new Error(
      `CLIPTokenizer: merge ${excerptJson(merge)}${this.#location} got the token ${excerptJson(token)}, ` +
        'expected tokens of the vocabulary. Take vocab.json and merges.txt from the same model.',
    );
  }

  #pair(left: number, right: number): number {
    return left * this.#stride + right;
  }
}

/** In place of the id of a token that was merged into the one before it. */
const GONE = -1;
