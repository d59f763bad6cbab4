import { Tokenizer } from '@huggingface/tokenizers';
import { record } from '@alignprop/autograd-ext/outside';
import { readText, resolveSource, type FileSource, type HubAccess } from '@alignprop/autograd-ext/weights';

/** Token ids of prompts, row by row: start, tokens, end, padding. */
export interface BertEncoded {
  readonly inputIds: Int32Array;
  /** 1 for tokens, start and end included, and 0 for padding. */
  readonly attentionMask: Float32Array;
  /** `[prompts, maxLength]` */
  readonly shape: [number, number];
}

/** Options of `BertTokenizer`. */
export interface BertTokenizerOptions {
  /** The place of the vocabulary, for messages. */
  readonly location?: string;
  /** Tokens beyond the vocabulary; their ids follow its last id. */
  readonly additionalTokens?: readonly string[];
}

// The part of the package used here: TypeScript cannot resolve its declarations under `nodenext`.
interface WordPieceEncoder {
  encode(text: string, options: { add_special_tokens: boolean }): { ids: number[] };
}
const WordPieceEncoder = Tokenizer as unknown as new (tokenizer: object, config: object) => WordPieceEncoder;

const special = { pad: '[PAD]', unknown: '[UNK]', start: '[CLS]', end: '[SEP]', mask: '[MASK]' } as const;

/** BERT's uncased WordPiece tokenizer (arXiv 1810.04805), equal to transformers' `BertTokenizer`. */
export class BertTokenizer {
  /** The number of tokens, additional ones included. */
  readonly size: number;
  readonly #vocab: ReadonlyMap<string, number>;
  readonly #encoder: WordPieceEncoder;

  /**
   * @param vocab the tokens in order of their ids, as in `vocab.txt`
   * @throws if a special token is missing
   */
  constructor(vocab: readonly string[], { additionalTokens = [], location }: BertTokenizerOptions = {}) {
    this.#vocab = new Map(vocab.map((token, id) => [token, id]));
    const missing = Object.values(special).filter((token) => !this.#vocab.has(token));
    if (missing.length)
      throw new Error(
        `BertTokenizer: vocab${location ? ` of '${location}'` : ''} got ${vocab.length} tokens without ` +
          `${missing.join(', ')}, ` +
          "expected BERT's vocab.txt, one token a line.",
      );
    this.size = vocab.length + additionalTokens.length;
    const added = [
      ...Object.values(special).map((token) => addedToken(token, this.#id(token))),
      ...additionalTokens.map((token, i) => addedToken(token, vocab.length + i)),
    ];
    this.#encoder = new WordPieceEncoder(template(this.#vocab, added), { clean_up_tokenization_spaces: false });
  }

  /**
   * Reads `vocab.txt`.
   * @throws if the file is missing or is not BERT's
   */
  static async fromPretrained(
    source: string | FileSource,
    { additionalTokens, ...access }: Omit<BertTokenizerOptions, 'location'> & HubAccess = {},
  ): Promise<BertTokenizer> {
    const folder = await resolveSource(source, access);
    const text = await readText(folder, 'vocab.txt');
    const vocab = text.replace(/\r?\n$/, '').split(/\r?\n/);
    return new BertTokenizer(vocab, { additionalTokens, location: folder.location });
  }

  /** Encodes prompts to `maxLength` tokens each: pads short prompts and truncates long ones. */
  encode(prompts: readonly string[], { maxLength }: { maxLength: number }): BertEncoded {
    const inputIds = new Int32Array(prompts.length * maxLength).fill(this.#id(special.pad));
    const attentionMask = new Float32Array(inputIds.length);
    prompts.forEach((prompt, row) => {
      const { ids } = this.#encoder.encode(prompt, { add_special_tokens: false });
      const tokens = [this.#id(special.start), ...ids.slice(0, maxLength - 2), this.#id(special.end)];
      inputIds.set(tokens, row * maxLength);
      attentionMask.fill(1, row * maxLength, row * maxLength + tokens.length);
    });
    return { inputIds, attentionMask, shape: [prompts.length, maxLength] };
  }

  #id(token: string): number {
    return this.#vocab.get(token)!;
  }
}

const addedToken = (content: string, id: number) => ({
  id,
  content,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: true,
});

/** Returns the `tokenizer.json` that transformers writes for an uncased BERT with this vocabulary. */
function template(vocab: ReadonlyMap<string, number>, added: readonly object[]): object {
  return {
    added_tokens: added,
    normalizer: {
      type: 'BertNormalizer',
      clean_text: true,
      handle_chinese_chars: true,
      strip_accents: null,
      lowercase: true,
    },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: null,
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: {
      type: 'WordPiece',
      unk_token: special.unknown,
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab: record(vocab),
    },
  };
}
