import { excerptJson } from '@alignprop/autograd-ext/outside';
import { readJson, readText, type FileSource } from '@alignprop/autograd-ext/weights';
import type { AddedToken } from './added-tokens.js';
import { largestId, type BytePairVocabulary } from './byte-pair-encoder.js';

/** The content of a CLIP tokenizer's folder. */
export interface TokenizerFiles extends BytePairVocabulary {
  readonly addedTokens: readonly AddedToken[];
  readonly ids: { readonly bos: number; readonly eos: number; readonly pad: number };
  readonly modelMaxLength: number;
}

type TokenEntry = string | (Partial<AddedToken> & { readonly content: string });
type Settings = Readonly<Record<string, unknown>>;
/** An added token; its id is undefined if no file has it. */
type ListedToken = Omit<AddedToken, 'id'> & { readonly id: number | undefined };

// The defaults of transformers' CLIPTokenizer.
const defaultTokens = {
  bos_token: '<|startoftext|>',
  eos_token: '<|endoftext|>',
  unk_token: '<|endoftext|>',
  pad_token: '<|endoftext|>',
};
const namedInOrder = ['bos_token', 'eos_token', 'unk_token', 'sep_token', 'pad_token', 'cls_token', 'mask_token'];
const defaultMaxLength = 77;
/** The largest number of positions of a text encoder: a prompt takes memory for all of them. */
const maxModelLength = 2 ** 16;

/**
 * Reads the folder of a tokenizer, as transformers 5 does: prefers `tokenizer.json` to `vocab.json` and `merges.txt`.
 * Where `tokenizer_config.json` has `added_tokens_decoder`, it alone has the added tokens; in older folders they are in
 * `added_tokens.json`, in `special_tokens_map.json`, which takes precedence over the config, and in `tokenizer.json`.
 * A special token that no file has an id for gets the next one.
 * @throws if there is no vocabulary, or a file is malformed
 */
export async function readTokenizerFiles(source: FileSource): Promise<TokenizerFiles> {
  const json = await readOptional(source, 'tokenizer.json');
  const { vocab, merges } = json ? checkedModel(json, source) : await readVocabulary(source);
  const config = (await readOptional(source, 'tokenizer_config.json')) ?? {};
  const isListed = typeof config.added_tokens_decoder === 'object' && config.added_tokens_decoder !== null;
  const map = isListed ? {} : ((await readOptional(source, 'special_tokens_map.json')) ?? {});
  const added = isListed ? {} : ((await readOptional(source, 'added_tokens.json')) ?? {});
  const settings = { ...config, ...map };
  const special = [...namedTokens(settings), ...listOf(settings.extra_special_tokens)];
  const others = listOf(settings.additional_special_tokens);
  const contents = new Set(special.map(({ content }) => content));
  const listed = isListed
    ? entriesOf(config.added_tokens_decoder).map(([id, entry]) => addedToken(entry, Number(id)))
    : [...jsonTokens(json), ...addedFile(added, contents, source)];
  const addedTokens = withIds([...listed, ...special, ...others], vocab).map((token) => ({
    ...token,
    special: token.special || contents.has(token.content),
  }));
  const addedIds = new Map(addedTokens.map(({ content, id }) => [content, id]));
  const id = (name: keyof typeof defaultTokens) => {
    const content = contentOf(settings, name);
    return (addedIds.get(content) ?? vocab.get(content))!;
  };
  return {
    vocab,
    merges,
    addedTokens,
    ids: { bos: id('bos_token'), eos: id('eos_token'), pad: id('pad_token') },
    unknown: contentOf(settings, 'unk_token'),
    location: source.location,
    modelMaxLength: maxLengthOf(config, source),
  };
}

async function readVocabulary(source: FileSource): Promise<Pick<TokenizerFiles, 'vocab' | 'merges'>> {
  if ((await source.has('vocab.json')) && (await source.has('merges.txt')))
    return {
      vocab: checkedVocab(await readJson(source, 'vocab.json'), 'vocab.json', source),
      merges: readMerges(await readText(source, 'merges.txt'), source),
    };
  throw new Error(
    `CLIPTokenizer: '${source.location}' has no vocabulary, ` +
      'expected vocab.json with merges.txt, or tokenizer.json. Check the folder, or download the files again.',
  );
}

/** Returns the vocabulary of `tokenizer.json`, which has merges as 'a b' or as ['a', 'b']. */
function checkedModel({ model }: Settings, source: FileSource): Pick<TokenizerFiles, 'vocab' | 'merges'> {
  const { vocab, merges = [] } = (model ?? {}) as { vocab?: unknown; merges?: readonly (string | string[])[] };
  return {
    vocab: checkedVocab(vocab, 'tokenizer.json', source),
    merges: merges.map((pair) => (typeof pair === 'string' ? pair : pair.join(' '))),
  };
}

function checkedVocab(vocab: unknown, file: string, source: FileSource): ReadonlyMap<string, number> {
  const entries = typeof vocab === 'object' && vocab !== null ? Object.entries(vocab as Record<string, number>) : [];
  if (entries.length === 0 || !entries.every(([, id]) => Number.isInteger(id)))
    throw new Error(
      `CLIPTokenizer: ${file} in '${source.location}' got no table of tokens and integer ids. Download it again.`,
    );
  return new Map(entries);
}

function readMerges(text: string, source: FileSource): string[] {
  const merges = text.split(/\r?\n/).filter((line, i) => line !== '' && !(i === 0 && line.startsWith('#version')));
  const malformed = merges.find((line) => !/^\S+ \S+$/.test(line));
  if (malformed === undefined) return merges;
  throw new Error(
    `CLIPTokenizer: merges.txt in '${source.location}' got the line ${excerptJson(malformed, 60)}, ` +
      'expected two tokens with a space between. Download it again.',
  );
}

async function readOptional(source: FileSource, path: string): Promise<Settings | undefined> {
  return (await source.has(path)) ? readJson<Settings>(source, path) : undefined;
}

/** Returns the tokens that the settings name: start, end, padding and so on. Of equal ones, the flags of the last. */
function namedTokens(settings: Settings): ListedToken[] {
  const entries = namedInOrder.map((name) => settings[name] ?? defaultTokens[name as keyof typeof defaultTokens]);
  return [...new Map(listOf(entries).map((token) => [token.content, token])).values()];
}

/** Returns the special tokens of a list or table. */
const listOf = (tokens: unknown): ListedToken[] =>
  Object.values((tokens ?? {}) as Record<string, unknown>)
    .filter(isEntry)
    .map((entry) => ({ ...addedToken(entry, undefined, true), special: true }));

const isEntry = (entry: unknown): entry is TokenEntry =>
  typeof entry === 'string' || typeof (entry as { content?: unknown } | null | undefined)?.content === 'string';

function contentOf(settings: Settings, name: keyof typeof defaultTokens): string {
  const entry = settings[name];
  if (!isEntry(entry)) return defaultTokens[name];
  return typeof entry === 'string' ? entry : entry.content;
}

const entriesOf = (table: unknown): [string, TokenEntry][] => Object.entries(table as Record<string, TokenEntry>);

/** Reads `added_tokens.json`: tokens with their ids, in transformers before 4.34. */
function addedFile(table: Settings, special: ReadonlySet<string>, source: FileSource): ListedToken[] {
  return Object.entries(table).map(([content, id]) => {
    if (!Number.isInteger(id))
      throw new Error(
        `CLIPTokenizer: added_tokens.json in '${source.location}' got ${excerptJson(id)} for ` +
          `${excerptJson(content)}, expected an integer id. Download it again.`,
      );
    return addedToken(content, id as number, special.has(content));
  });
}

function jsonTokens(json: Settings | undefined): ListedToken[] {
  const tokens = json?.added_tokens;
  return Array.isArray(tokens) ? (tokens as AddedToken[]).map((token) => addedToken(token, token.id)) : [];
}

/** Fills in the defaults of tokenizers' `AddedToken`: special tokens are found in the text as it was given. */
function addedToken(entry: TokenEntry, id: number | undefined, isSpecial = false): ListedToken {
  const token = typeof entry === 'string' ? { content: entry } : entry;
  const { special = isSpecial, single_word = false, lstrip = false, rstrip = false } = token;
  const normalized = token.normalized ?? !special;
  return { content: token.content, id, single_word, lstrip, rstrip, normalized, special };
}

/**
 * Returns each token once. Tokens of the vocabulary have its ids; others without an id get the next one that is free.
 */
function withIds(tokens: readonly ListedToken[], vocab: ReadonlyMap<string, number>): AddedToken[] {
  const byContent = new Map(tokens.toReversed().map((token) => [token.content, token]));
  const unique = [...new Set(tokens.map(({ content }) => content))].map((content) => byContent.get(content)!);
  const known = unique.map(({ id, content }) => vocab.get(content) ?? id);
  let next = Math.max(largestId(vocab.values()), largestId(known.filter((id) => id !== undefined))) + 1;
  return unique.map((token, i) => ({ ...token, id: known[i] ?? next++ }));
}

/** Reads `model_max_length`. transformers writes 1e30 for an unknown length, which means CLIP's 77 here. */
function maxLengthOf({ model_max_length }: Settings, source: FileSource): number {
  const length = model_max_length ?? defaultMaxLength;
  if (typeof length === 'number' && length >= 1e18) return defaultMaxLength;
  if (Number.isInteger(length) && (length as number) >= 2 && (length as number) <= maxModelLength)
    return length as number;
  throw new Error(
    `CLIPTokenizer: model_max_length in '${source.location}' got ${excerptJson(length)}, ` +
      `expected an integer from 2 to ${maxModelLength}. Correct tokenizer_config.json.`,
  );
}
