import { excerptList } from '@alignprop/autograd-ext/outside';
import type { StoredTensor } from '@alignprop/autograd-ext';
import {
  findWeightFile,
  isSafetensors,
  openSafetensors,
  openTorchFile,
  type FileSource,
  type HubOptions,
} from '@alignprop/autograd-ext/weights';

/** Options of `readEmbedding`; those of the hub are used for a repository. */
export interface ReadEmbeddingOptions extends Omit<HubOptions, 'token'> {
  /** The name of the file in a folder or repository; `learned_embeds.safetensors` or `.bin` by default. */
  readonly weightName?: string;
  /** The access token of the hub: `token` of `hub`. */
  readonly hfToken?: string | false;
}

/** The embedding of a file. */
export interface FileEmbedding {
  /** The token that the file names; undefined if it names none. */
  readonly token: string | undefined;
  /** One vector, `[D]`, or several, `[n, D]`. */
  readonly vectors: StoredTensor;
  /** The path of the file. */
  readonly location: string;
}

const owner = 'loadTextualInversion';
const usualNames = ['learned_embeds.safetensors', 'learned_embeds.bin'];

/**
 * Opens a file with a textual inversion (arXiv 2208.01618), in every format that diffusers reads:
 * - diffusers: `{ '<token>': vectors }`, as safetensors or a torch file; a torch file may be a bare tensor;
 * - A1111: `{ string_to_param: { '*': vectors }, name }`, or `emb_params` as safetensors, whose file name is the token;
 * - SDXL: `clip_l` and `clip_g`, of which `clip_l` is used, with a warning.
 * @throws if there is no such file, it has another format, or it is an image with an embedding in its pixels
 */
export async function readEmbedding(
  location: string | FileSource,
  { weightName, hfToken, ...options }: ReadEmbeddingOptions = {},
): Promise<FileEmbedding> {
  if (typeof location === 'string' && /\.(png|webp|jxl|avif)$/i.test(location))
    throw new Error(
      `${owner}: '${location}' is an image, expected a file of weights. Embeddings in the pixels of images cannot be ` +
        'read; save the embedding as safetensors.',
    );
  const { source, file } = await findWeightFile(location, {
    ...options,
    token: hfToken,
    owner,
    names: usualNames,
    file: weightName,
  });
  const path = `${source.location}/${file}`;
  const { tensors, metadata } = await (isSafetensors(file) ? openSafetensors : openTorchFile)(source, file);
  const name = metadata instanceof Map ? metadata.get('name') : metadata.name;
  const { token, vectors } = chooseVectors(tensors, path, options.onWarning);
  const fileToken = token ?? (typeof name === 'string' ? name : undefined) ?? fileName(file);
  return { token: tensors.has('') ? undefined : fileToken, vectors, location: path };
}

const fileName = (path: string): string => path.replace(/^.*\//, '').replace(/\.[^.]+$/, '');

/** Returns the vectors, and the token if it is their key. */
function chooseVectors(
  tensors: ReadonlyMap<string, StoredTensor>,
  path: string,
  onWarning: ReadEmbeddingOptions['onWarning'],
): { readonly token?: string; readonly vectors: StoredTensor } {
  const ofA1111 = [...tensors].filter(([key]) => key.startsWith('string_to_param.'));
  if (ofA1111.length === 1) return { vectors: ofA1111[0]![1] };
  const ofFirst = tensors.get('clip_l');
  if (ofFirst) {
    if (tensors.has('clip_g'))
      onWarning?.(`'${path}' has embeddings for two text encoders (SDXL): clip_l is used, clip_g is left out.`);
    return { vectors: ofFirst };
  }
  const [entry, ...others] = tensors;
  if (entry && others.length === 0)
    return entry[0] === 'emb_params' ? { vectors: entry[1] } : { token: entry[0], vectors: entry[1] };
  const keys = excerptList(
    [...tensors.keys()].map((key) => `'${key}'`),
    3,
  );
  throw new Error(
    `${owner}: '${path}' got ${tensors.size} tensors (${keys}), expected ` +
      'one token with its vectors, string_to_param, emb_params, or clip_l. Check that it is a textual inversion.',
  );
}
