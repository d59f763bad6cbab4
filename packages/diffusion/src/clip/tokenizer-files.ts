import { readJson, readText, type FileSource } from '@alignprop/autograd-ext/weights';

/** A special token in the format of `tokenizer.json`. */
export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly single_word: boolean;
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  readonly normalized: boolean;
  readonly special: boolean;
}

/** The content of a CLIP tokenizer's folder. */
export interface TokenizerFiles {
  readonly vocab: Readonly<Record<string, number>>;
  /** The merges of BPE in order of priority, such as 'a b'. */
  readonly merges: readonly string[];
  readonly addedTokens: readonly AddedToken[];
  readonly ids: { readonly bos: number; readonly eos: number; readonly pad: number };
  /** The token for text that is not in the vocabulary. */
  readonly unknown: string;
  readonly modelMaxLength: number;
}

type TokenEntry = string | (Partial<AddedToken> & { readonly content: string });
type Settings = Readonly<Record<string, unknown>>;

// The defaults of transformers' CLIPTokenizer.
const defaultTokens = {
  bos_token: '<|startoftext|>',
  eos_token: '<|endoftext|>',
  unk_token: '<|endoftext|>',
  pad_token: '<|endoftext|>',
};
const defaultMaxLength = 77;

/**
 * Reads the folder of a tokenizer.
 * @throws if there is no vocabulary, a file is malformed, or a special token has no id
 */
export async function readTokenizerFiles(source: FileSource): Promise<TokenizerFiles> {
  const { vocab, merges } = await readVocabulary(source);
  const config = (await readOptional(source, 'tokenizer_config.json')) ?? {};
  const map = (await readOptional(source, 'special_tokens_map.json')) ?? {};
  const entries = specialTokens(config, map);
  const addedTokens = uniqueById([
    ...listedTokens(config),
    ...Object.values(entries).map((entry) => addedToken(entry, idOf(entry, config, vocab, source))),
  ]);
  const id = (name: keyof typeof defaultTokens) => idOf(entries[name], config, vocab, source);
  return {
    vocab,
    merges,
    addedTokens,
    ids: { bos: id('bos_token'), eos: id('eos_token'), pad: id('pad_token') },
    unknown: contentOf(entries.unk_token),
    modelMaxLength: maxLengthOf(config, source),
  };
}

async function readVocabulary(source: FileSource): Promise<Pick<TokenizerFiles, 'vocab' | 'merges'>> {
  if ((await source.has('vocab.json')) && (await source.has('merges.txt'))) {
    const vocab = await readJson(source, 'vocab.json');
    return {
      vocab: checkedVocab(vocab, 'vocab.json', source),
      merges: readMerges(await readText(source, 'merges.txt'), source),
    };
  }
  if (!(await source.has('tokenizer.json'))) {
    throw new Error(
      `CLIPTokenizer: '${source.location}' has no vocabulary, ` +
        'expected vocab.json with merges.txt, or tokenizer.json. Check the folder, or download the files again.',
    );
  }
  const { model } = await readJson<{ model?: { vocab?: unknown; merges?: readonly (string | readonly string[])[] } }>(
    source,
    'tokenizer.json',
  );
  const merges = (model?.merges ?? []).map((pair) => (typeof pair === 'string' ? pair : pair.join(' ')));
  return { vocab: checkedVocab(model?.vocab, 'tokenizer.json', source), merges };
}

function checkedVocab(vocab: unknown, file: string, source: FileSource): Readonly<Record<string, number>> {
  const isVocab =
    typeof vocab === 'object' &&
    vocab !== null &&
    Object.values(vocab).length > 0 &&
    Object.values(vocab).every(Number.isInteger);
  if (!isVocab)
    throw new Error(
      `CLIPTokenizer: ${file} in '${source.location}' got no table of tokens and integer ids. Download it again.`,
    );
  return vocab as Readonly<Record<string, number>>;
}

function readMerges(text: string, source: FileSource): string[] {
  const merges = text.split(/\r?\n/).filter((line, i) => line !== '' && !(i === 0 && line.startsWith('#version')));
  const malformed = merges.find((line) => !/^\S+ \S+$/.test(line));
  if (malformed === undefined) return merges;
  throw new Error(
    `CLIPTokenizer: merges.txt in '${source.location}' got the line ${JSON.stringify(malformed.slice(0, 60))}, ` +
      'expected two tokens with a space between. Download it again.',
  );
}

async function readOptional(source: FileSource, path: string): Promise<Settings | undefined> {
  if (!(await source.has(path))) return undefined;
  const settings = await readJson(source, path);
  if (typeof settings === 'object' && settings !== null && !Array.isArray(settings)) return settings as Settings;
  throw new Error(
    `CLIPTokenizer: ${path} in '${source.location}' got ${JSON.stringify(settings)?.slice(0, 60)}, ` +
      'expected an object. Download it again.',
  );
}

/** `special_tokens_map.json` takes precedence unless the config has `added_tokens_decoder`, as in transformers. */
function specialTokens(config: Settings, map: Settings): Record<keyof typeof defaultTokens, TokenEntry> {
  const layers = 'added_tokens_decoder' in config ? [config] : [map, config];
  const find = (name: string) =>
    layers.map((layer) => layer[name]).find((entry) => entry !== undefined && entry !== null);
  const entries = Object.entries(defaultTokens).map(([name, fallback]) => [name, find(name) ?? fallback]);
  return Object.fromEntries(entries) as Record<keyof typeof defaultTokens, TokenEntry>;
}

const contentOf = (entry: TokenEntry): string => (typeof entry === 'string' ? entry : entry.content);

const listOf = (config: Settings) => Object.entries((config.added_tokens_decoder ?? {}) as Record<string, TokenEntry>);

const listedTokens = (config: Settings): AddedToken[] =>
  listOf(config).map(([id, entry]) => addedToken(entry, Number(id)));

function idOf(
  entry: TokenEntry,
  config: Settings,
  vocab: Readonly<Record<string, number>>,
  source: FileSource,
): number {
  const content = contentOf(entry);
  const listed = listOf(config).find(([, token]) => contentOf(token) === content);
  const id = listed ? Number(listed[0]) : Object.hasOwn(vocab, content) ? vocab[content] : undefined;
  if (id !== undefined) return id;
  throw new Error(
    `CLIPTokenizer: special token ${JSON.stringify(content)} is not in the vocabulary of '${source.location}'. ` +
      'Take vocab.json and special_tokens_map.json from the same model.',
  );
}

function addedToken(entry: TokenEntry, id: number): AddedToken {
  const settings = typeof entry === 'string' ? { content: entry } : entry;
  return { single_word: false, lstrip: false, rstrip: false, normalized: true, ...settings, special: true, id };
}

const uniqueById = (tokens: readonly AddedToken[]) => [...new Map(tokens.map((token) => [token.id, token])).values()];

/** Reads `model_max_length`. transformers writes 1e30 for an unknown length, which means CLIP's 77 here. */
function maxLengthOf({ model_max_length: length = defaultMaxLength }: Settings, source: FileSource): number {
  if (typeof length === 'number' && length >= 1e18) return defaultMaxLength;
  if (Number.isInteger(length) && (length as number) >= 2) return length as number;
  throw new Error(
    `CLIPTokenizer: model_max_length in '${source.location}' got ${JSON.stringify(length)}, ` +
      'expected an integer of at least 2. Correct tokenizer_config.json.',
  );
}
