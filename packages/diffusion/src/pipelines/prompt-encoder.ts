import {
  concat,
  dispose,
  reshape,
  slice,
  tidy,
  zeros,
  type Tensor,
  type Tensor2D,
  type Tensor3D,
} from '@tensorflow/tfjs-core';
import type { Compiled, Engine } from '@alignprop/autograd-ext';
import type { CLIPTextModelWithProjection } from '../clip/text-model.js';
import type { Encoded } from '../clip/tokenizer.js';
import type { PromptEncoding } from './conditioning.js';
import { chunksOf, idsFor, tokenizeFor, type TextStage } from './text-stages.js';

/** Options of `encodePrompt`. */
export interface EncodePromptOptions {
  /** The prompts of SDXL's second text encoder; those of the first by default. */
  readonly prompts2?: readonly string[];
  /** The number of last layers of the text encoders that are left out; 0 by default. */
  readonly clipSkip?: number;
  /**
   * Encodes prompts in as many chunks of 75 tokens, one after another, see `chunkCount`; 1 by default, which cuts
   * longer prompts off. The prompts and negative prompts of images have the same number.
   */
  readonly chunks?: number;
}

/** The text encoders of a pipeline, compiled. */
export class PromptEncoder {
  /** The compiled text encoders by the number of layers skipped. */
  readonly #compiled = new Map<number, readonly Compiled[]>();

  constructor(
    readonly engine: Engine,
    /** The text encoder, or SDXL's two. */
    readonly stages: readonly [TextStage, ...TextStage[]],
    /** Whether the encoding of a negative prompt that is not given is zeros, and not that of ''. */
    readonly zeroNegative: boolean,
  ) {}

  /**
   * Converts prompts to token ids of the first text encoder, with all vectors of textual inversions.
   * @throws if a token has no embedding in the text encoder
   */
  tokenize(prompts: readonly string[]): Encoded {
    return tokenizeFor(this.stages[0], prompts);
  }

  /** The number of chunks that hold the longest of the prompts. */
  chunkCount(prompts: readonly string[], prompts2: readonly string[] = prompts): number {
    const [first, second] = this.stages;
    return Math.max(chunksOf(first, prompts), second ? chunksOf(second, prompts2) : 1);
  }

  /** Encodes prompts; see `StableDiffusionPipeline.encodePrompt`. */
  async encode(
    prompts: readonly string[],
    { prompts2 = prompts, clipSkip = 0, chunks = 1 }: EncodePromptOptions = {},
  ): Promise<PromptEncoding> {
    const outputs: Tensor[] = [];
    try {
      for (const [i, encode] of this.#compiledFor(clipSkip).entries()) {
        const stage = this.stages[i]!;
        const ids = idsFor(stage, i === 0 ? prompts : prompts2, chunks);
        outputs.push(...(await encode(stage.textEncoder.params, ids).finally(() => dispose(ids))));
      }
      const [first, second, pooled] = outputs as [Tensor3D, Tensor3D?, Tensor2D?];
      return {
        promptEmbeds: tidy(() => joined(second ? concat([first, second], 2) : first, chunks)),
        ...(pooled && { pooledPromptEmbeds: tidy(() => firstChunks(pooled, chunks)) }),
      };
    } finally {
      dispose(outputs);
    }
  }

  /**
   * Encodes negative prompts.
   * @param prompts undefined where none is given
   */
  async encodeNegative(
    prompts: readonly string[] | undefined,
    batch: number,
    options: EncodePromptOptions = {},
  ): Promise<PromptEncoding> {
    if (prompts) return this.encode(prompts, options);
    if (this.zeroNegative) return this.#zeros(batch, options.chunks);
    return this.encode(new Array<string>(batch).fill(''), options);
  }

  #zeros(batch: number, chunks = 1): PromptEncoding {
    const [first, second] = this.stages;
    const config2 = (second!.textEncoder as CLIPTextModelWithProjection).config;
    const width = first.textEncoder.config.hidden_size + config2.hidden_size;
    return {
      promptEmbeds: zeros([batch, first.tokenizer.modelMaxLength * chunks, width]),
      pooledPromptEmbeds: zeros([batch, config2.projection_dim]),
    };
  }

  /** @throws if a text encoder has no more layers than are skipped */
  #compiledFor(clipSkip: number): readonly Compiled[] {
    const layers = Math.min(...this.stages.map(({ textEncoder }) => textEncoder.config.num_hidden_layers));
    if (!Number.isInteger(clipSkip) || clipSkip < 0 || clipSkip >= layers)
      throw new Error(
        `StableDiffusionPipeline: clipSkip got ${clipSkip}, expected an integer from 0 to ${layers - 1}, below the ` +
          'number of layers of the text encoder. Pass fewer.',
      );
    const compiled =
      this.#compiled.get(clipSkip) ?? this.stages.map((stage) => this.engine.compile(stage.encode(clipSkip)));
    this.#compiled.set(clipSkip, compiled);
    return compiled;
  }
}

/** Puts the chunks of each prompt one after another: `[B · n, L, D]` → `[B, n · L, D]`. */
function joined(embeds: Tensor, chunks: number): Tensor3D {
  const [rows, length, width] = embeds.shape as [number, number, number];
  return reshape(embeds, [rows / chunks, chunks * length, width]);
}

/** The pooled text of the first chunk of each prompt: `[B · n, P]` → `[B, P]`. */
function firstChunks(pooled: Tensor2D, chunks: number): Tensor2D {
  const [rows, width] = pooled.shape;
  return slice(reshape(pooled, [rows / chunks, chunks * width]) as Tensor2D, [0, 0], [-1, width]);
}
