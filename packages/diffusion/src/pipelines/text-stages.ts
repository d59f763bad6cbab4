import { excerptJson } from '@alignprop/autograd-ext/outside';
import { tensor2d, type Tensor2D } from '@tensorflow/tfjs-core';
import type { ModelFunction } from '@alignprop/autograd-ext';
import {
  clipText,
  clipTextWithProjection,
  skippedState,
  type CLIPTextModel,
  type CLIPTextModelWithProjection,
} from '../clip/text-model.js';
import type { CLIPTokenizer, Encoded } from '../clip/tokenizer.js';
import type { StableDiffusionParts } from './load-parts.js';
import { expandPrompt } from './prompt-expansion.js';

/** A text encoder of a pipeline, as a function of token ids. */
export interface TextStage {
  /** The name of its folder. */
  readonly name: 'text_encoder' | 'text_encoder_2';
  readonly tokenizer: CLIPTokenizer;
  readonly textEncoder: CLIPTextModel;
  /**
   * A function of `(params, ids [N, L])` to the embeddings `[N, L, D]` and, in SDXL's second one, the pooled text
   * `[N, P]`.
   * @param clipSkip the number of last layers that are left out
   */
  encode(clipSkip: number): ModelFunction;
}

type TextParts = Pick<StableDiffusionParts, 'tokenizer' | 'textEncoder' | 'tokenizer2' | 'textEncoder2'>;

/** The text encoders of a pipeline: one, or SDXL's two, whose embeddings lie side by side. */
export function textStages({
  tokenizer,
  textEncoder,
  tokenizer2,
  textEncoder2,
}: TextParts): readonly [TextStage, ...TextStage[]] {
  const first = (encode: TextStage['encode']): TextStage => ({ name: 'text_encoder', tokenizer, textEncoder, encode });
  if (!tokenizer2 || !textEncoder2) return [first((clipSkip) => lastState(textEncoder, clipSkip))];
  return [
    first((clipSkip) => penultimate(textEncoder, clipSkip)),
    {
      name: 'text_encoder_2',
      tokenizer: tokenizer2,
      textEncoder: textEncoder2,
      encode: (clipSkip) => pooledPenultimate(textEncoder2, clipSkip),
    },
  ];
}

/** The state after the last layer that is kept, normalised: Stable Diffusion 1.x and 2.x. */
const lastState =
  ({ config }: CLIPTextModel, clipSkip: number): ModelFunction =>
  (params, ids) =>
    clipSkip === 0 ? clipText(config, params, ids!).lastHiddenState : skippedState(config, params, ids!, clipSkip);

/** The state before the last layer that is kept, not normalised: SDXL. */
const penultimate =
  ({ config }: CLIPTextModel, clipSkip: number): ModelFunction =>
  (params, ids) =>
    clipText(config, params, ids!).hiddenStates.at(-2 - clipSkip)!;

const pooledPenultimate =
  ({ config }: CLIPTextModelWithProjection, clipSkip: number): ModelFunction =>
  (params, ids) => {
    const { hiddenStates, textEmbeds } = clipTextWithProjection(config, params, ids!);
    return [hiddenStates.at(-2 - clipSkip)!, textEmbeds];
  };

/** Writes out the tokens of textual inversions with several vectors. */
const expanded = (tokenizer: CLIPTokenizer, prompts: readonly string[]): string[] =>
  prompts.map((prompt) => expandPrompt(prompt, tokenizer));

/** The number of chunks of 75 tokens that hold the longest of the prompts, for a tokenizer of 77. */
export const chunksOf = ({ tokenizer }: TextStage, prompts: readonly string[]): number =>
  tokenizer.chunkCount(expanded(tokenizer, prompts));

/**
 * Converts prompts to token ids, `[B · chunks, L]`, with all vectors of textual inversions.
 * @throws if a token has no embedding in the text encoder
 */
export function tokenizeFor({ tokenizer, textEncoder }: TextStage, prompts: readonly string[], chunks = 1): Encoded {
  const encoded = tokenizer.encode(expanded(tokenizer, prompts), { chunks });
  const { vocab_size: rows } = textEncoder.config;
  const missing = encoded.inputIds.find((id) => id >= rows);
  if (missing === undefined) return encoded;
  throw new Error(
    `StableDiffusionPipeline: token ${excerptJson(tokenizer.token(missing))} got id ${missing}, ` +
      `expected one below ${rows}, as the text encoder has embeddings. Take both from the same model.`,
  );
}

/** The token ids of prompts as a tensor, `[B · chunks, L]`. */
export function idsFor(stage: TextStage, prompts: readonly string[], chunks: number): Tensor2D {
  const { inputIds, shape } = tokenizeFor(stage, prompts, chunks);
  return tensor2d(inputIds, shape, 'int32');
}
