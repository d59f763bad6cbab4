/** A token outside the merges of BPE, in the format of `tokenizer.json`. */
export interface AddedToken {
  readonly id: number;
  readonly content: string;
  /** Found only where no letter, digit or underscore is beside it. */
  readonly single_word: boolean;
  /** Also takes the white space before it. */
  readonly lstrip: boolean;
  /** Also takes the white space behind it. */
  readonly rstrip: boolean;
  /** Found in the normalised text, in any case, instead of in the text as it was given. */
  readonly normalized: boolean;
  readonly special: boolean;
}

/** The characters that Unicode calls white space, for a character class. JavaScript's `\s` has others. */
export const WHITE_SPACE = String.raw`\t-\r\x85\p{Z}`;
const LETTER = String.raw`\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}`;
const endsWithLetter = new RegExp(`[${LETTER}]$`, 'u');
const startsWithLetter = new RegExp(`^[${LETTER}]`, 'u');
const spaceAtEnd = new RegExp(`[${WHITE_SPACE}]*$`, 'u');
const spaceAtStart = new RegExp(`^[${WHITE_SPACE}]*`, 'u');

/** Finds added tokens in a text: `AddedVocabulary` of Hugging Face's tokenizers. */
export class AddedTokens {
  readonly #byText: ReadonlyMap<string, AddedToken>;
  readonly #pattern: RegExp | undefined;

  /** @param textOf returns the text by which a token is found */
  constructor(tokens: readonly AddedToken[], textOf: (token: AddedToken) => string) {
    const entries = tokens.map((token) => [textOf(token), token] as const).filter(([text]) => text !== '');
    this.#byText = new Map(entries.toReversed()); // of tokens with one text, the first is found
    // The first alternative that fits wins, so the longest is the first.
    const texts = [...this.#byText.keys()].sort((a, b) => b.length - a.length);
    if (texts.length)
      this.#pattern = new RegExp(
        texts.map((text) => text.replace(/[\\^$.*+?()[\]{}|/]/g, String.raw`\$&`)).join('|'),
        'gu',
      );
  }

  /** Splits a text into added tokens and the texts between them, none of which is empty. */
  split(text: string): (AddedToken | string)[] {
    if (!this.#pattern) return text === '' ? [] : [text];
    const parts: (AddedToken | string)[] = [];
    let done = 0;
    for (const { 0: match, index } of text.matchAll(this.#pattern)) {
      const token = this.#byText.get(match)!;
      const [before, behind] = [text.slice(0, index), text.slice(index + match.length)];
      if (token.single_word && (endsWithLetter.test(before) || startsWithLetter.test(behind))) continue;
      const start = token.lstrip ? Math.max(done, before.length - spaceAtEnd.exec(before)![0].length) : index;
      if (start > done) parts.push(text.slice(done, start));
      parts.push(token);
      done = index + match.length + (token.rstrip ? spaceAtStart.exec(behind)![0].length : 0);
    }
    if (done < text.length) parts.push(text.slice(done));
    return parts;
  }
}
