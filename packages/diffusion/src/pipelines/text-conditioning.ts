import { reshape, tidy, tile, type Tensor } from '@tensorflow/tfjs-core';
import type { Conditioning, PromptEncoding } from './conditioning.js';
import { isEncoding } from './generate-options.js';
import type { Generation, PromptTexts } from './generation.js';
import type { PromptEncoder } from './prompt-encoder.js';

/**
 * Encodes the prompts of a `generate` call, and with guidance its negative prompts, one row per image. Adds every
 * tensor to `intermediates`, but not those of encodings that were given.
 */
export async function encodeForImages(
  encoder: PromptEncoder,
  generation: Generation,
  guided: boolean,
  intermediates: Tensor[],
): Promise<Conditioning> {
  const { count, prompt, negativePrompt, numImagesPerPrompt, clipSkip } = generation;
  const own = <T extends PromptEncoding>(encoding: T): T => {
    intermediates.push(...tensorsOf(encoding));
    return encoding;
  };
  const chunks = chunksFor(encoder, generation, guided);
  const encode = async ({ prompts, prompts2 }: PromptTexts, skip: number) =>
    own(await encoder.encode(prompts, { prompts2, clipSkip: skip, chunks }));
  const positive = isEncoding(prompt) ? prompt : await encode(prompt, clipSkip);
  const repeated = own(repeatedEncoding(positive, numImagesPerPrompt));
  if (!guided) return repeated;
  const negative = isEncoding(negativePrompt)
    ? negativePrompt
    : negativePrompt
      ? await encode(negativePrompt, 0)
      : own(await encoder.encodeNegative(undefined, count, { chunks }));
  const { promptEmbeds, pooledPromptEmbeds } = own(repeatedEncoding(negative, numImagesPerPrompt));
  return { ...repeated, negativePromptEmbeds: promptEmbeds, negativePooledPromptEmbeds: pooledPromptEmbeds };
}

/** The number of chunks in which all texts are encoded: as many as the longest needs, and as a given encoding has. */
function chunksFor(
  encoder: PromptEncoder,
  { prompt, negativePrompt, longPrompts }: Generation,
  guided: boolean,
): number {
  const length = encoder.stages[0].tokenizer.modelMaxLength;
  const counts = [prompt, guided ? negativePrompt : undefined].map((texts) => {
    if (isEncoding(texts)) return Math.floor(texts.promptEmbeds.shape[1] / length);
    return longPrompts && texts ? encoder.chunkCount(texts.prompts, texts.prompts2) : 1;
  });
  return Math.max(...counts);
}

/** The text of each prompt beyond the (first) text encoder's maximum length; none for encodings or long prompts. */
export function truncatedTexts({ prompt, longPrompts }: Generation, encoder: PromptEncoder): readonly string[] {
  if (isEncoding(prompt)) return [];
  return longPrompts ? prompt.prompts.map(() => '') : encoder.tokenize(prompt.prompts).truncated;
}

const tensorsOf = ({ promptEmbeds, pooledPromptEmbeds }: PromptEncoding): Tensor[] =>
  pooledPromptEmbeds ? [promptEmbeds, pooledPromptEmbeds] : [promptEmbeds];

/** Repeats each row of an encoding n times: a, a, b, b. */
function repeatedEncoding({ promptEmbeds, pooledPromptEmbeds }: PromptEncoding, n: number): PromptEncoding {
  return {
    promptEmbeds: repeatEach(promptEmbeds, n),
    ...(pooledPromptEmbeds && { pooledPromptEmbeds: repeatEach(pooledPromptEmbeds, n) }),
  };
}

function repeatEach<T extends Tensor>(rows: T, n: number): T {
  const [batch, ...rest] = rows.shape as [number, ...number[]];
  const ones = rest.map(() => 1);
  return tidy(() => reshape(tile(reshape(rows, [batch, 1, ...rest]), [1, n, ...ones]), [batch * n, ...rest])) as T;
}
