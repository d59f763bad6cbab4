import { concat, dispose, tensor2d, zeros, type Tensor, type Tensor2D, type Tensor3D } from '@tensorflow/tfjs-core';
import type { Compiled, Engine, ModelFunction } from '@alignprop/autograd-ext';
import {
  clipText,
  clipTextWithProjection,
  skippedState,
  type CLIPTextModel,
  type CLIPTextModelWithProjection,
} from '../clip/text-model.js';
import type { CLIPTokenizer, Encoded } from '../clip/tokenizer.js';
import type { PromptEncoding } from './conditioning.js';
import { expandPrompt } from './prompt-expansion.js';

/** A tokenizer and its text encoder. */
export interface TextParts<T> {
  readonly tokenizer: CLIPTokenizer;
  readonly textEncoder: T;
}

/** SDXL's second tokenizer and text encoder, whose pooled output conditions the UNet as well. */
type SecondTextParts = TextParts<CLIPTextModelWithProjection>;

/** The text encoders of a pipeline, compiled. */
export class PromptEncoder {
  /** The compiled text encoder, and SDXL's second one, by the number of layers skipped. */
  readonly #compiled = new Map<number, readonly [Compiled, Compiled?]>();

  constructor(
    readonly engine: Engine,
    readonly first: TextParts<CLIPTextModel>,
    readonly second: SecondTextParts | undefined,
    /** Whether the encoding of a negative prompt that is not given is zeros, and not that of ''. */
    readonly zeroNegative: boolean,
  ) {}

  /**
   * Converts prompts to token ids of the first text encoder, with all vectors of textual inversions.
   * @throws if a token has no embedding in the text encoder
   */
  tokenize(prompts: readonly string[]): Encoded {
    return tokenizeFor(this.first, prompts);
  }

  /**
   * Encodes prompts. Attends to padding, as diffusers does; truncates long prompts.
   * @param prompts2 the prompts of SDXL's second text encoder; `prompts` by default
   * @param clipSkip the number of last layers that are left out
   */
  async encode(
    prompts: readonly string[],
    { prompts2 = prompts, clipSkip = 0 }: { prompts2?: readonly string[]; clipSkip?: number } = {},
  ): Promise<PromptEncoding> {
    const [first, second] = this.#compiledFor(clipSkip);
    const [embeds] = await run(first, this.first, prompts);
    if (!this.second) return { promptEmbeds: embeds as Tensor3D };
    try {
      const [embeds2, pooled] = await run(second!, this.second, prompts2);
      const promptEmbeds = concat([embeds!, embeds2!], 2) as Tensor3D;
      embeds2!.dispose();
      return { promptEmbeds, pooledPromptEmbeds: pooled as Tensor2D };
    } finally {
      embeds!.dispose();
    }
  }

  /**
   * Encodes negative prompts.
   * @param prompts undefined where none is given
   */
  async encodeNegative(prompts: readonly string[] | undefined, batch: number): Promise<PromptEncoding> {
    if (prompts) return this.encode(prompts);
    return this.zeroNegative ? this.#zeros(batch) : this.encode(new Array<string>(batch).fill(''));
  }

  #zeros(batch: number): PromptEncoding {
    const [{ config }, { config: config2 }] = [this.first.textEncoder, this.second!.textEncoder];
    const width = config.hidden_size + config2.hidden_size;
    return {
      promptEmbeds: zeros([batch, this.first.tokenizer.modelMaxLength, width]),
      pooledPromptEmbeds: zeros([batch, config2.projection_dim]),
    };
  }

  #compiledFor(clipSkip: number): readonly [Compiled, Compiled?] {
    const known = this.#compiled.get(clipSkip);
    if (known) return known;
    const compiled = [
      this.engine.compile(this.second ? penultimate(this.first, clipSkip) : lastState(this.first, clipSkip)),
      this.second && this.engine.compile(pooledPenultimate(this.second, clipSkip)),
    ] as const;
    this.#compiled.set(clipSkip, compiled);
    return compiled;
  }
}

/** The state after the last layer that is kept, normalised: Stable Diffusion 1.x and 2.x. */
const lastState =
  ({ textEncoder: { config } }: TextParts<CLIPTextModel>, clipSkip: number): ModelFunction =>
  (params, ids) =>
    clipSkip === 0 ? clipText(config, params, ids!).lastHiddenState : skippedState(config, params, ids!, clipSkip);

/** The state before the last layer that is kept, not normalised: SDXL. */
const penultimate =
  ({ textEncoder: { config } }: TextParts<CLIPTextModel>, clipSkip: number): ModelFunction =>
  (params, ids) =>
    clipText(config, params, ids!).hiddenStates.at(-2 - clipSkip)!;

const pooledPenultimate =
  ({ textEncoder: { config } }: SecondTextParts, clipSkip: number): ModelFunction =>
  (params, ids) => {
    const { hiddenStates, textEmbeds } = clipTextWithProjection(config, params, ids!);
    return [hiddenStates.at(-2 - clipSkip)!, textEmbeds];
  };

async function run(
  encode: Compiled,
  parts: TextParts<CLIPTextModel>,
  prompts: readonly string[],
): Promise<readonly Tensor[]> {
  const { inputIds, shape } = tokenizeFor(parts, prompts);
  const ids = tensor2d(inputIds, shape, 'int32');
  return encode(parts.textEncoder.params, ids).finally(() => dispose(ids));
}

function tokenizeFor({ tokenizer, textEncoder }: TextParts<CLIPTextModel>, prompts: readonly string[]): Encoded {
  const encoded = tokenizer.encode(prompts.map((prompt) => expandPrompt(prompt, tokenizer)));
  const { vocab_size: rows } = textEncoder.config;
  const missing = encoded.inputIds.find((id) => id >= rows);
  if (missing === undefined) return encoded;
  throw new Error(
    `StableDiffusionPipeline: token ${JSON.stringify(tokenizer.token(missing))} got id ${missing}, ` +
      `expected one below ${rows}, as the text encoder has embeddings. Take both from the same model.`,
  );
}
