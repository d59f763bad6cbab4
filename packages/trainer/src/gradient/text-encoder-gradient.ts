import { concat, dispose, reshape, slice, tidy, zeros, type Tensor, type Tensor3D } from '@tensorflow/tfjs-core';
import { disposeTensors, trainable, type CompiledVjp, type ModelFunction } from '@alignprop/autograd-ext';
import { idsFor, textStages, type StableDiffusionPipeline, type TextStage } from '@alignprop/diffusion';
import { prefixed } from '../model/trained-weights.js';
import { accumulate, type Gradients } from '../optim/gradients.js';

/** The path under which the walk up sums the gradient of the embeddings, `[2B, L, D]`; `[B, L, D]` without guidance. */
const embedsPath = 'prompt_embeds';
/** The same of SDXL's pooled text, `[2B, P]` or `[B, P]`. */
const pooledPath = 'pooled_prompt_embeds';

/** The inputs of the guided UNet that are outputs of text encoders: their places, and paths of their gradients. */
export const encodedInputs = ({ isXL }: Pick<StableDiffusionPipeline, 'isXL'>): readonly EncodedInput[] => [
  { index: 2, path: embedsPath },
  ...(isXL ? [{ index: 5, path: pooledPath }] : []),
];

/** An input of the guided UNet; see `guidedPrediction`. */
interface EncodedInput {
  readonly index: number;
  readonly path: string;
}

/** Whether a text encoder of a pipeline has trainable weights, so that the gradient of the embeddings is needed. */
export const trainsTextEncoder = ({ params: { unet: _, ...texts } }: StableDiffusionPipeline): boolean =>
  Object.values(texts).some((params) => Object.keys(trainable(params)).length > 0);

/** The texts that were encoded: the rows of the embeddings. */
export interface EncodedTexts {
  /** The first rows with guidance; undefined where these are zeros. */
  readonly negativePrompts: readonly string[] | undefined;
  readonly prompts: readonly string[];
}

/** Texts that are encoded with as many layers, and their first row in the embeddings. */
interface TextGroup {
  readonly texts: readonly string[];
  readonly firstRow: number;
  readonly clipSkip: number;
}

/**
 * Backpropagates the gradient of the embeddings, summed over the attached steps, through the text encoders: one
 * vector-Jacobian product per encoder and micro-batch, or two with `clipSkip`. Does nothing where they are frozen.
 */
export class TextEncoderGradient {
  readonly #stages: readonly { readonly stage: TextStage; readonly firstColumn: number }[];
  readonly #vjps = new Map<string, CompiledVjp>();

  /** @param clipSkip the number of layers that the encoding of prompts leaves out; negative prompts take all */
  constructor(
    readonly pipeline: StableDiffusionPipeline,
    readonly clipSkip = 0,
  ) {
    let firstColumn = 0;
    const stages = textStages(pipeline).map((stage) => {
      const placed = { stage, firstColumn };
      firstColumn += stage.textEncoder.config.hidden_size;
      return placed;
    });
    this.#stages = stages.filter(({ stage }) => Object.keys(trainable(stage.textEncoder.params)).length > 0);
  }

  /**
   * Replaces the gradients of the embeddings and of the pooled text, which are freed, by those of the text encoders'
   * weights under `text_encoder.` and `text_encoder_2.`.
   */
  async backward(gradients: Gradients, { negativePrompts, prompts }: EncodedTexts): Promise<Gradients> {
    if (this.#stages.length === 0) return gradients;
    const { [embedsPath]: embeds, [pooledPath]: pooled, ...weights } = gradients;
    let total: Gradients = weights;
    try {
      const dy = { embeds: embeds as Tensor3D, pooled };
      for (const group of this.#groups(dy.embeds.shape[0], negativePrompts, prompts))
        for (const { stage, firstColumn } of this.#stages)
          total = accumulate(total, await this.#stageGradients(stage, group, firstColumn, dy));
      return total;
    } catch (error) {
      disposeTensors(total);
      throw error;
    } finally {
      dispose([embeds!, ...(pooled ? [pooled] : [])]);
    }
  }

  #groups(rows: number, negatives: readonly string[] | undefined, prompts: readonly string[]): readonly TextGroup[] {
    const { clipSkip } = this;
    const firstRow = rows - prompts.length;
    if (!negatives) return [{ texts: prompts, firstRow, clipSkip }];
    if (clipSkip === 0) return [{ texts: [...negatives, ...prompts], firstRow: 0, clipSkip }];
    return [
      { texts: negatives, firstRow: 0, clipSkip: 0 },
      { texts: prompts, firstRow, clipSkip },
    ];
  }

  async #stageGradients(
    stage: TextStage,
    { texts, firstRow, clipSkip }: TextGroup,
    firstColumn: number,
    { embeds, pooled }: { embeds: Tensor3D; pooled: Tensor | undefined },
  ): Promise<Gradients> {
    const length = stage.tokenizer.modelMaxLength;
    const chunks = embeds.shape[1] / length;
    const width = stage.textEncoder.config.hidden_size;
    const ids = idsFor(stage, texts, chunks); // [N, L], N = texts · chunks
    const dy = tidy(() => {
      const own = slice(embeds, [firstRow, 0, firstColumn], [texts.length, -1, width]);
      const flat = reshape(own, [texts.length * chunks, length, width]); // [N, L, D]
      if (stage.name === 'text_encoder') return flat;
      const rows = slice(pooled!, [firstRow, 0], [texts.length, -1]); // [B, P], of the first chunks
      const others = zeros([texts.length, rows.shape[1]! * (chunks - 1)]);
      return withPooled(flat, reshape(concat([rows, others], 1), [texts.length * chunks, rows.shape[1]!]));
    });
    try {
      const { value, params } = await this.#vjp(stage, clipSkip)(stage.textEncoder.params, [ids], dy);
      value.dispose();
      return prefixed(stage.name, params);
    } finally {
      dispose([ids, dy]);
    }
  }

  #vjp(stage: TextStage, clipSkip: number): CompiledVjp {
    const key = `${stage.name} ${clipSkip}`;
    const vjp = this.#vjps.get(key) ?? this.pipeline.engine.compileVjp(oneOutput(stage.encode(clipSkip)));
    this.#vjps.set(key, vjp);
    return vjp;
  }
}

/** Joins the outputs of a text encoder to one tensor, since a VJP has one. */
const oneOutput =
  (encode: ModelFunction): ModelFunction =>
  (params, ids) => {
    const [embeds, pooled] = [encode(params, ids)].flat() as [Tensor, Tensor?];
    return pooled ? withPooled(embeds, pooled) : embeds;
  };

/** `[N, L, D]` and `[N, P]` as `[N, L · D + P]`. */
function withPooled(embeds: Tensor, pooled: Tensor): Tensor {
  const [rows, length, width] = embeds.shape as [number, number, number];
  return concat([reshape(embeds, [rows, length * width]), pooled], 1);
}
