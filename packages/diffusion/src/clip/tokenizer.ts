import { excerptJson } from '@alignprop/autograd-ext/outside';
import { checkOptions } from '@alignprop/autograd-ext';
import {
  resolveSource,
  subfolder as openSubfolder,
  type FileSource,
  type HubOptions,
  hubOptionNames,
} from '@alignprop/autograd-ext/weights';
import { AddedTokens, WHITE_SPACE, type AddedToken } from './added-tokens.js';
import { fromByteCharacters, toByteCharacters } from './byte-level.js';
import { BytePairEncoder, END_OF_WORD, largestId } from './byte-pair-encoder.js';
import { readTokenizerFiles, type TokenizerFiles } from './tokenizer-files.js';

/** Options of `CLIPTokenizer.encode`. */
export interface EncodeOptions {
  /** Tokens per prompt, start and end included; `modelMaxLength` by default. */
  maxLength?: number;
  /** The id that short prompts are padded with; `padTokenId` of the tokenizer by default. open_clip pads with 0. */
  padTokenId?: number;
  /** Rows per prompt, each with a start and an end of its own; 1 by default. */
  chunks?: number;
}

/** The token ids of a batch of prompts. */
export interface Encoded {
  /** Row by row: start, tokens, end, padding. */
  readonly inputIds: Int32Array;
  /** `[prompts · chunks, maxLength]` */
  readonly shape: [number, number];
  /** The text of each prompt beyond its rows; '' if the prompt fits. */
  readonly truncated: readonly string[];
}

// transformers' CLIPTokenizer applies BPE to each match of this expression.
const words = new RegExp(
  String.raw`<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^${WHITE_SPACE}\p{L}\p{N}]+`,
  'gu',
);
// It then splits the words of the first two alternatives, where they are no special tokens, by kinds of characters.
const parts = /\p{L}+|[^\p{L}]+/gu;
const markers = new Set(['<|startoftext|>', '<|endoftext|>']);
const spaces = new RegExp(`[${WHITE_SPACE}]+`, 'gu');

/**
 * CLIP's lower-case byte-pair encoding: transformers' `CLIPTokenizer` of version 5, also named `CLIPTokenizerFast`.
 * Unlike earlier versions with ftfy installed, it does not repair curly quotes, full-width letters and mojibake.
 */
export class CLIPTokenizer {
  /** Tokens per prompt, start and end included. */
  readonly modelMaxLength: number;
  readonly bosTokenId: number;
  readonly eosTokenId: number;
  readonly padTokenId: number;
  readonly #files: TokenizerFiles;
  readonly #encoder: BytePairEncoder;
  #byId: ReadonlyMap<number, string> | undefined;
  readonly #added: ReadonlyMap<string, AddedToken>;
  /** The added tokens that are found in the text as it was given. */
  readonly #verbatim: AddedTokens;
  /** The added tokens that are found in the normalised text. */
  readonly #normalized: AddedTokens;

  /** @throws if a merge has tokens that are not in the vocabulary */
  constructor(files: TokenizerFiles, encoder = new BytePairEncoder(files)) {
    this.modelMaxLength = files.modelMaxLength;
    ({ bos: this.bosTokenId, eos: this.eosTokenId, pad: this.padTokenId } = files.ids);
    const { addedTokens } = files;
    this.#files = files;
    this.#encoder = encoder;
    this.#added = new Map(addedTokens.map((token) => [token.content, token]));
    this.#verbatim = new AddedTokens(
      addedTokens.filter(({ normalized }) => !normalized),
      ({ content }) => content,
    );
    this.#normalized = new AddedTokens(
      addedTokens.filter(({ normalized }) => normalized),
      ({ content }) => normalize(content),
    );
  }

  /**
   * Reads `tokenizer.json`, or `vocab.json` and `merges.txt`, and the settings and added tokens of
   * `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json`.
   * @throws if there is no vocabulary, or a file is malformed
   */
  static async fromPretrained(
    source: string | FileSource,
    { subfolder, ...hubOptions }: { subfolder?: string } & HubOptions = {},
  ): Promise<CLIPTokenizer> {
    checkOptions('CLIPTokenizer.fromPretrained', hubOptions, ['subfolder', ...hubOptionNames]);
    const root = await resolveSource(source, hubOptions);
    return new CLIPTokenizer(await readTokenizerFiles(subfolder ? openSubfolder(root, subfolder) : root));
  }

  /**
   * Converts prompts to token ids of the same length. Truncates long prompts at the end, as transformers does.
   * @throws if there are no prompts, a prompt is not a string, or `maxLength` is below 2
   */
  encode(
    prompts: readonly string[],
    { maxLength = this.modelMaxLength, padTokenId = this.padTokenId, chunks = 1, ...others }: EncodeOptions = {},
  ): Encoded {
    checkOptions('CLIPTokenizer.encode', others, ['maxLength', 'padTokenId', 'chunks']);
    checkArguments(prompts, maxLength, chunks);
    const inputIds = new Int32Array(prompts.length * chunks * maxLength).fill(padTokenId);
    const textLength = maxLength - 2;
    const truncated = prompts.map((prompt, i) => {
      const ids = this.#ids(prompt);
      for (let chunk = 0; chunk < chunks; chunk++) {
        const part = ids.slice(chunk * textLength, (chunk + 1) * textLength);
        inputIds.set([this.bosTokenId, ...part, this.eosTokenId], (i * chunks + chunk) * maxLength);
      }
      return this.#text(ids.slice(chunks * textLength));
    });
    return { inputIds, shape: [prompts.length * chunks, maxLength], truncated };
  }

  /** The number of rows that hold the longest of the prompts, 1 or more. */
  chunkCount(prompts: readonly string[]): number {
    return prompts.reduce(
      (most, prompt) => Math.max(most, Math.ceil(this.#ids(prompt).length / (this.modelMaxLength - 2))),
      1,
    );
  }

  /** The vocabulary, merges and added tokens. */
  get files(): TokenizerFiles {
    return this.#files;
  }

  /** The number of ids: one more than the highest one. */
  get size(): number {
    const { vocab, addedTokens } = this.#files;
    return Math.max(largestId(vocab.values()), largestId(addedTokens.map(({ id }) => id))) + 1;
  }

  /** Returns the token of an id; undefined if there is none. */
  token(id: number): string | undefined {
    return this.#tokens.get(id);
  }

  /** Whether a text is a token of the vocabulary, or an added one. */
  has(token: string): boolean {
    return this.#added.has(token) || this.#files.vocab.has(token);
  }

  /** Returns the texts by which added tokens are found in a prompt, each once, in the order of the prompt. */
  addedTextsIn(prompt: string): string[] {
    const added = new Map(this.#files.addedTokens.map((token) => [token.id, token]));
    const tokens = this.#ids(prompt).flatMap((id) => added.get(id) ?? []);
    return [...new Set(tokens.map(({ content, normalized }) => (normalized ? normalize(content) : content)))];
  }

  /** Whether a text is an added token. */
  hasAdded(token: string): boolean {
    return this.#added.has(token);
  }

  /**
   * Returns a tokenizer with more tokens, found in prompts in any case, as those of transformers' `add_tokens`.
   * @param ids the id of each token
   * @throws if a token is empty or exists already
   */
  withTokens(ids: Readonly<Record<string, number>>): CLIPTokenizer {
    const wrong = Object.keys(ids).find((token) => token === '' || this.has(token));
    if (wrong !== undefined)
      throw new Error(
        `CLIPTokenizer.withTokens: token got ${excerptJson(wrong)}, expected a token that is not there yet. ` +
          'Choose another name.',
      );
    const flags = { single_word: false, lstrip: false, rstrip: false, normalized: true, special: false };
    const more = Object.entries(ids).map(([content, id]) => ({ id, content, ...flags }));
    return new CLIPTokenizer({ ...this.#files, addedTokens: [...this.#files.addedTokens, ...more] }, this.#encoder);
  }

  /** The tokens by id. Most tokenizers never turn an id into a text. */
  get #tokens(): ReadonlyMap<number, string> {
    const { vocab, addedTokens } = this.#files;
    return (this.#byId ??= new Map([
      ...[...vocab].map(([token, id]) => [id, token] as const),
      ...addedTokens.map(({ id, content }) => [id, content] as const),
    ]));
  }

  #ids(prompt: string): number[] {
    return this.#verbatim.split(prompt).flatMap((part) => {
      if (typeof part !== 'string') return part.id;
      return this.#normalized
        .split(normalize(part))
        .flatMap((text) => (typeof text === 'string' ? this.#wordIds(text) : text.id));
    });
  }

  #wordIds(text: string): number[] {
    return (text.match(words) ?? [])
      .flatMap((word) => (markers.has(word) ? word.match(parts)! : word))
      .flatMap((word) => this.#encoder.encode(toByteCharacters(word)));
  }

  #text(ids: readonly number[]): string {
    return fromByteCharacters(ids.map((id) => this.#tokens.get(id)!))
      .replaceAll(END_OF_WORD, ' ')
      .trim();
  }
}

/** The most rows of a prompt: more tokens than any prompt has, and than memory holds embeddings of. */
const MAX_CHUNKS = 1000;

/** Normalises a text as CLIP's tokenizer does. JavaScript lower-cases Σ at the end of a word to ς; Rust always to σ. */
const normalize = (text: string): string =>
  text.normalize('NFC').replace(spaces, ' ').replaceAll('Σ', 'σ').toLowerCase();

function checkArguments(prompts: readonly string[], maxLength: number, chunks: number): void {
  if (prompts.length === 0)
    throw new Error(
      'CLIPTokenizer.encode: prompts got an empty list, expected at least one. Pass [""] for an empty prompt.',
    );
  const wrong = prompts.findIndex((prompt) => typeof prompt !== 'string');
  if (wrong >= 0)
    throw new Error(`CLIPTokenizer.encode: prompt ${wrong} got ${excerptJson(prompts[wrong])}, expected a string.`);
  if (!Number.isInteger(maxLength) || maxLength < 2 || maxLength > 2 ** 16)
    throw new Error(`CLIPTokenizer.encode: maxLength got ${maxLength}, expected an integer from 2 to ${2 ** 16}.`);
  if (!Number.isInteger(chunks) || chunks < 1 || chunks > MAX_CHUNKS)
    throw new Error(`CLIPTokenizer.encode: chunks got ${chunks}, expected an integer from 1 to ${MAX_CHUNKS}.`);
}
