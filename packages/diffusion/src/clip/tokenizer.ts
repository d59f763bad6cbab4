import { Tokenizer } from '@huggingface/tokenizers';
import { resolveSource, subfolder as openSubfolder, type FileSource } from '@alignprop/autograd-ext/weights';
import { readTokenizerFiles, type TokenizerFiles } from './tokenizer-files.js';

/** Options of `CLIPTokenizer.encode`. */
export interface EncodeOptions {
  /** Tokens per prompt, start and end included; `modelMaxLength` by default. */
  maxLength?: number;
  /** The id that short prompts are padded with; `padTokenId` of the tokenizer by default. open_clip pads with 0. */
  padTokenId?: number;
}

/** The token ids of a batch of prompts. */
export interface Encoded {
  /** Row by row: start, tokens, end, padding. */
  readonly inputIds: Int32Array;
  /** `[prompts, maxLength]` */
  readonly shape: [number, number];
  /** For each prompt the text beyond `maxLength`; '' if the prompt fits. */
  readonly truncated: readonly string[];
}

// The part of the package in use. TypeScript cannot resolve the package's own declarations under `nodenext`.
interface BytePairEncoder {
  encode(text: string, options: { add_special_tokens: boolean }): { ids: number[] };
  decode(ids: number[]): string;
}
const BytePairEncoder = Tokenizer as unknown as new (tokenizer: object, config: object) => BytePairEncoder;

// transformers' CLIPTokenizer applies BPE to each match of this expression.
const words = String.raw`<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+`;
const endOfWord = '</w>';

/**
 * CLIP's lower-case byte-pair encoding: transformers' `CLIPTokenizer` of version 5. Unlike earlier versions with ftfy
 * installed, it does not repair curly quotes, full-width letters and mojibake.
 */
export class CLIPTokenizer {
  /** Tokens per prompt, start and end included. */
  readonly modelMaxLength: number;
  readonly bosTokenId: number;
  readonly eosTokenId: number;
  readonly padTokenId: number;
  readonly #encoder: BytePairEncoder;

  constructor(files: TokenizerFiles) {
    this.modelMaxLength = files.modelMaxLength;
    ({ bos: this.bosTokenId, eos: this.eosTokenId, pad: this.padTokenId } = files.ids);
    this.#encoder = new BytePairEncoder(tokenizerJson(files), { clean_up_tokenization_spaces: false });
  }

  /**
   * Reads `vocab.json` and `merges.txt` (or `tokenizer.json`), `tokenizer_config.json` and `special_tokens_map.json`.
   * @throws if there is no vocabulary, a file is malformed, or a special token is not in the vocabulary
   */
  static async fromPretrained(
    source: string | FileSource,
    { subfolder }: { subfolder?: string } = {},
  ): Promise<CLIPTokenizer> {
    const root = await resolveSource(source);
    return new CLIPTokenizer(await readTokenizerFiles(subfolder ? openSubfolder(root, subfolder) : root));
  }

  /**
   * Converts prompts to token ids of the same length. Truncates long prompts at the end, as transformers does.
   * @throws if there are no prompts, a prompt is not a string, or `maxLength` is below 2
   */
  encode(
    prompts: readonly string[],
    { maxLength = this.modelMaxLength, padTokenId = this.padTokenId }: EncodeOptions = {},
  ): Encoded {
    checkArguments(prompts, maxLength);
    const inputIds = new Int32Array(prompts.length * maxLength).fill(padTokenId);
    const truncated = prompts.map((prompt, row) => {
      const ids = this.#ids(prompt);
      const textLength = maxLength - 2;
      inputIds.set([this.bosTokenId, ...ids.slice(0, textLength), this.eosTokenId], row * maxLength);
      return this.#text(ids.slice(textLength));
    });
    return { inputIds, shape: [prompts.length, maxLength], truncated };
  }

  #ids(prompt: string): number[] {
    // JavaScript lower-cases Σ at the end of a word to ς; transformers always to σ.
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

/** Returns the content of the `tokenizer.json` that transformers writes for CLIP with this vocabulary. */
function tokenizerJson({ vocab, merges, addedTokens, unknown }: TokenizerFiles): object {
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

function checkArguments(prompts: readonly string[], maxLength: number): void {
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
