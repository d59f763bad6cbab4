import { checkOptions, readValues, unflatten, flatten, type Params, type StoredTensor } from '@alignprop/autograd-ext';
import type { Tensor } from '@tensorflow/tfjs-core';
import { CLIPTextModel } from '../clip/text-model.js';
import type { CLIPTokenizer } from '../clip/tokenizer.js';
import { hubOptionNames, type FileSource } from '@alignprop/autograd-ext/weights';
import { excerpt, excerptJson, record } from '@alignprop/autograd-ext/outside';
import { readEmbedding, type ReadEmbeddingOptions } from './embedding-file.js';

/** The embeddings of new tokens: one vector, `[D]`, or several, `[n, D]`, with D the text encoder's width. */
export type TokenEmbeddings = Readonly<Record<string, Tensor | StoredTensor>>;

/** Options of `StableDiffusionPipeline.loadTextualInversion`. */
export interface TextualInversionOptions extends ReadEmbeddingOptions {
  /** The token that stands for the embedding in prompts; by default the one that the file names. */
  readonly token?: string;
}

const optionsOfFiles = ['token', 'weightName', 'hfToken', ...hubOptionNames.filter((name) => name !== 'token')];

/** The parts of a pipeline that know tokens. */
interface TextParts {
  readonly tokenizer: CLIPTokenizer;
  readonly textEncoder: CLIPTextModel;
}

const owner = 'loadTextualInversion';
const tablePath = 'text_model.embeddings.token_embedding.weight';

/** Adds the embeddings of a file, or those in memory; see `StableDiffusionPipeline.loadTextualInversion`. */
export async function loadTextualInversion(
  parts: TextParts,
  source: string | FileSource | TokenEmbeddings,
  { token, ...options }: TextualInversionOptions,
): Promise<TextParts> {
  checkOptions('StableDiffusionPipeline.loadTextualInversion', options, optionsOfFiles);
  if (isEmbeddings(source)) {
    const embeddings = token === undefined ? source : renamed(source, token);
    warnOfCapitals(embeddings, options.onWarning);
    return addTokens(parts, embeddings);
  }
  const { token: named, vectors, location } = await readEmbedding(source, options);
  const name = token ?? named;
  if (name !== undefined) return loadTextualInversion(parts, { [name]: vectors }, options);
  throw new Error(`${owner}: '${location}' names no token, expected one as an option. Pass token.`);
}

/** Warns of tokens of which prompts use the first vector alone; see `expandPrompt`. */
function warnOfCapitals(embeddings: TokenEmbeddings, onWarning: TextualInversionOptions['onWarning']): void {
  for (const [token, { shape }] of Object.entries(embeddings))
    if (shape.length === 2 && shape[0]! > 1 && token !== token.toLowerCase())
      onWarning?.(
        `'${excerpt(token)}' has capital letters and ${shape[0]} vectors, ` +
          'of which prompts use the first alone, as in ' +
          `diffusers with transformers 5. Pass the token '${token.toLowerCase()}' to use all.`,
      );
}

/** Whether a source is embeddings by token, and not a location. */
const isEmbeddings = (source: string | FileSource | TokenEmbeddings): source is TokenEmbeddings =>
  typeof source !== 'string' && typeof source.open !== 'function';

function renamed(embeddings: TokenEmbeddings, token: string): TokenEmbeddings {
  const [vectors, ...others] = Object.values(embeddings);
  if (vectors && others.length === 0) return { [token]: vectors };
  throw new Error(
    `${owner}: token got '${excerpt(token)}' for ${Object.keys(embeddings).length} embeddings, expected one. ` +
      'Name the tokens in the embeddings.',
  );
}

/**
 * Adds tokens and their embeddings to a tokenizer and a text encoder, as diffusers' `load_textual_inversion` does: a
 * token of n vectors is n tokens, `<x>`, `<x>_1`, … Copies the values.
 * @throws if a token exists already, vectors have another width than the text encoder or values that are not finite, or
 *   tokens of the tokenizer have no embedding
 */
async function addTokens({ tokenizer, textEncoder }: TextParts, embeddings: TokenEmbeddings): Promise<TextParts> {
  const { vocab_size: rows, hidden_size: width } = textEncoder.config;
  const first = tokenizer.size;
  if (first > rows)
    throw new Error(
      `${owner}: the tokenizer got ${first} tokens, expected at most ${rows}, as the text encoder has embeddings. ` +
        'Take both from the same model.',
    );
  const added = record<number>();
  const vectors: Float32Array[] = [];
  for (const [token, tensor] of Object.entries(embeddings)) {
    checkToken(tokenizer, token);
    const values = await readVectors(token, tensor, width);
    vectors.push(values);
    for (let i = 0; i < values.length / width; i++)
      added[i === 0 ? token : `${token}_${i}`] = first + Object.keys(added).length;
  }
  const last = first + Object.keys(added).length;
  const config = { ...textEncoder.config, vocab_size: Math.max(rows, last) };
  const leaves = flatten(textEncoder.params) as Record<string, Tensor | StoredTensor>;
  const table = withRows(leaves[tablePath]!, { first, vectors, shape: [config.vocab_size, width] });
  return {
    tokenizer: tokenizer.withTokens(added),
    textEncoder: new CLIPTextModel({ ...config }, unflatten({ ...leaves, [tablePath]: table }) as Params),
  };
}

/** Checks that neither the token nor its further vectors exist. */
function checkToken(tokenizer: CLIPTokenizer, token: string): void {
  const taken = [token, `${token}_1`].find((name) => tokenizer.has(name));
  if (taken === undefined && token !== '') return;
  throw new Error(
    `${owner}: token got ${excerptJson(taken ?? token)}, which ` +
      `${taken ? 'the tokenizer has already' : 'is empty'}, ` +
      'expected a new one. Pass another name as token.',
  );
}

async function readVectors(token: string, tensor: Tensor | StoredTensor, width: number): Promise<Float32Array> {
  const { shape } = tensor;
  if (shape.length < 1 || shape.length > 2 || shape.at(-1) !== width || shape[0] === 0)
    throw new Error(
      `${owner}: the embedding of '${excerpt(token)}' got shape [${shape.join(', ')}], ` +
        `expected [${width}] or [n, ${width}], ` +
        `the text encoder's width. ${advice[shape.at(-1) ?? 0] ?? 'Take one that was trained for this model.'}`,
    );
  const values = Float32Array.from(await readValues(tensor));
  const bad = values.findIndex((value) => !Number.isFinite(value));
  if (bad < 0) return values;
  throw new Error(
    `${owner}: the embedding of '${excerpt(token)}' got ${values[bad]} at position ${bad}, expected finite numbers. ` +
      'The file is damaged; use another one.',
  );
}

/** The models that embeddings of a width are for. */
const advice: Readonly<Record<number, string>> = {
  768: 'It is for Stable Diffusion 1.x.',
  1024: 'It is for Stable Diffusion 2.x.',
  1280: 'It is for the second text encoder of SDXL.',
};

/** Returns a table with rows replaced or added, which is put together when it is read. */
function withRows(
  table: Tensor | StoredTensor,
  { first, vectors, shape }: { first: number; vectors: readonly Float32Array[]; shape: readonly [number, number] },
): StoredTensor {
  return {
    shape,
    dtype: 'F32',
    read: async () => {
      const values = new Float32Array(shape[0] * shape[1]);
      values.set(await readValues(table));
      let at = first * shape[1];
      for (const rows of vectors) {
        values.set(rows, at);
        at += rows.length;
      }
      return values;
    },
  };
}
