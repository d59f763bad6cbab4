import { Tokenizer } from '@huggingface/tokenizers';
import { resolveSource, subfolder as openSubfolder, type FileSource } from '@alignprop/autograd-ext/weights';
import { readTokenizerFiles, type TokenizerFiles } from './tokenizer-files.js';

export interface EncodeOptions {
  /** Tokens per prompt, start and end included; the tokenizer's own length by default. */
  maxLength?: number;
  /** What fills a short prompt up; the file's pad token by default. open_clip pads with 0. */
  padTokenId?: number;
}

export interface Encoded {
  /** Row by row: start, tokens, end, padding. */
  readonly inputIds: Int32Array;
  /** `[prompts, maxLength]` */
  readonly shape: [number, number];
  /** The text of each prompt that did not fit, '' where all of it did. */
  readonly truncated: readonly string[];
}

// What is used of the package, whose own declarations TypeScript cannot resolve under `nodenext`.
interface BytePairEncoder {
  encode(text: string, options: { add_special_tokens: boolean }): { ids: number[] };
  decode(ids: number[]): string;
}
const BytePairEncoder = Tokenizer as unknown as new (tokenizer: object, config: object) => BytePairEncoder;

// What BPE is applied to, one match at a time: transformers' CLIPTokenizer.
const words = String.raw`<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+`;
const endOfWord = '</w>';

/**
 * CLIP's byte-pair encoding, lower-case, as transformers' `CLIPTokenizer` of version 5 (that is, without ftfy's repair
 * of curly quotes, full-width letters and mojibake, which earlier versions applied where ftfy was installed).
 */
export class CLIPTokenizer {
  /** Tokens per prompt: start, text, end, padding. */
  readonly modelMaxLength: number;
  readonly bosTokenId: number;
  readonly eosTokenId: number;
  readonly padTokenId: number;
  readonly #encoder: BytePairEncoder;

  constructor(files: TokenizerFiles) {
    this.modelMaxLength = files.modelMaxLength;
    ({ bos: this.bosTokenId, eos: this.eosTokenId, pad: this.padTokenId } = files.ids);
    this.#encoder = new BytePairEncoder(template(files), { clean_up_tokenization_spaces: false });
  }

  /**
   * Reads `vocab.json` and `merges.txt` (or `tokenizer.json`), `tokenizer_config.json` and `special_tokens_map.json`.
   * @throws if there is no vocabulary, a file is broken, or a special token is not in the vocabulary
   */
  static async fromPretrained(
    source: string | FileSource,
    { subfolder }: { subfolder?: string } = {},
  ): Promise<CLIPTokenizer> {
    const root = await resolveSource(source);
    return new CLIPTokenizer(await readTokenizerFiles(subfolder ? openSubfolder(root, subfolder) : root));
  }

  /**
   * Prompts to token ids, all of one length. A long prompt keeps its start and gives up its end, as in transformers.
   * @throws if there are no prompts, one is not a string, or the length leaves no room for start and end
   */
  encode(
    prompts: readonly string[],
    { maxLength = this.modelMaxLength, padTokenId = this.padTokenId }: EncodeOptions = {},
  ): Encoded {
    checkRequest(prompts, maxLength);
    const inputIds = new Int32Array(prompts.length * maxLength).fill(padTokenId);
    const truncated = prompts.map((prompt, row) => {
      const ids = this.#ids(prompt);
      const kept = ids.slice(0, maxLength - 2);
      inputIds.set([this.bosTokenId, ...kept, this.eosTokenId], row * maxLength);
      return this.#text(ids.slice(kept.length));
    });
    return { inputIds, shape: [prompts.length, maxLength], truncated };
  }

  #ids(prompt: string): number[] {
    // JavaScript lower-cases a Σ at the end of a word to ς, the reference always to σ.
    return this.#encoder.encode(prompt.replaceAll('Σ', 'σ'), { add_special_tokens: false }).ids;
  }

  #text(ids: readonly number[]): string {
    if (ids.length === 0) return '';
    return this.#encoder
      .decode([...ids])
      .replaceAll(endOfWord, ' ')
      .trim();
  }
}

/** The `tokenizer.json` that transformers writes for CLIP, with this vocabulary. */
function template({ vocab, merges, addedTokens, unknown }: TokenizerFiles): object {
  return {
    added_tokens: addedTokens,
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'NFC' },
        { type: 'Replace', pattern: { Regex: String.raw`\s+` }, content: ' ' },
        { type: 'Lowercase' },
      ],
    },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: words }, behavior: 'Removed', invert: true },
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
      ],
    },
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
    model: { type: 'BPE', unk_token: unknown, end_of_word_suffix: endOfWord, vocab, merges },
  };
}

function checkRequest(prompts: readonly string[], maxLength: number): void {
  if (prompts.length === 0)
    throw new Error(
      'CLIPTokenizer.encode: prompts got an empty list, expected at least one. Pass [""] for an empty prompt.',
    );
  const wrong = prompts.findIndex((prompt) => typeof prompt !== 'string');
  if (wrong >= 0)
    throw new Error(`CLIPTokenizer.encode: prompt ${wrong} got ${JSON.stringify(prompts[wrong])}, expected a string.`);
  if (!Number.isInteger(maxLength) || maxLength < 2)
    throw new Error(`CLIPTokenizer.encode: maxLength got ${maxLength}, expected an integer of at least 2.`);
}
