import { memory } from '@alignprop/autograd-ext/weights';
import { byteCharacters } from '../clip/byte-level.js';
import { CLIPTokenizer } from '../clip/tokenizer.js';

const VOCABULARY_SIZE = 49408;

/**
 * CLIP's tokenizer, which no checkpoint in a single file has.
 * @param padToken `<|endoftext|>` for OpenAI's models, `!` for open_clip's
 */
export async function standardTokenizer(padToken: '<|endoftext|>' | '!'): Promise<CLIPTokenizer> {
  const merges = await readMerges();
  const config = { pad_token: padToken, model_max_length: 77 };
  return CLIPTokenizer.fromPretrained(
    memory({
      'vocab.json': JSON.stringify(vocabularyOf(merges)),
      'merges.txt': merges.join('\n'),
      'tokenizer_config.json': JSON.stringify(config),
    }),
  );
}

/** The tokens and their ids: bytes, bytes at the end of a word, merges, the two special tokens. */
function vocabularyOf(merges: readonly string[]): Record<string, number> {
  const ends = byteCharacters.map((character) => `${character}</w>`);
  const tokens = [...byteCharacters, ...ends, ...merges.map((merge) => merge.replace(' ', ''))];
  const all = [...tokens, '<|startoftext|>', '<|endoftext|>'];
  if (all.length !== VOCABULARY_SIZE)
    throw new Error(
      `standardTokenizer: got ${all.length} tokens, expected ${VOCABULARY_SIZE}. Install the package again.`,
    );
  return Object.fromEntries(all.map((token, id) => [token, id]));
}

/** Unpacks the merges, which are loaded only when a tokenizer is needed. */
async function readMerges(): Promise<string[]> {
  const { packedMerges } = await import('./packed-merges.js');
  const packed = Uint8Array.from(atob(packedMerges.replaceAll('\n', '')), (character) => character.charCodeAt(0));
  const text = await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream('gzip'))).text();
  return text.split('\n').filter((line) => line !== '');
}
