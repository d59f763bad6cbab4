import { dispose, tensor2d, type Tensor } from '@tensorflow/tfjs-core';
import { trainable, type CompiledVjp } from '@alignprop/autograd-ext';
import { clipText, type StableDiffusionPipeline } from '@alignprop/diffusion';
import { prefixed } from '../model/trained-weights.js';
import type { Gradients } from '../optim/gradients.js';

/** The path under which the walk up sums the gradient of the embeddings, `[2B, L, D]`; `[B, L, D]` without guidance. */
export const embedsPath = 'prompt_embeds';

/** Whether a pipeline's text encoder has trainable weights, so that the gradient of the embeddings is needed. */
export const trainsTextEncoder = ({ textEncoder }: StableDiffusionPipeline): boolean =>
  Object.keys(trainable(textEncoder.params)).length > 0;

/**
 * Backpropagates the gradient of the embeddings, summed over the attached steps, through the text encoder: one
 * vector-Jacobian product per micro-batch. Does nothing where the text encoder is frozen.
 */
export class TextEncoderGradient {
  readonly #vjp: CompiledVjp | undefined;

  constructor(readonly pipeline: StableDiffusionPipeline) {
    const { engine, textEncoder } = pipeline;
    this.#vjp = trainsTextEncoder(pipeline)
      ? engine.compileVjp((params, ids) => clipText(textEncoder.config, params, ids as never).lastHiddenState)
      : undefined;
  }

  /**
   * Replaces the gradient of the embeddings, which is freed, by those of the text encoder's weights under
   * `text_encoder.`.
   * @param texts the texts of the embeddings, in their order
   */
  async backward(gradients: Gradients, texts: readonly string[]): Promise<Gradients> {
    if (!this.#vjp) return gradients;
    const { [embedsPath]: dy, ...weights } = gradients;
    const { textEncoder } = this.pipeline;
    const { inputIds, shape } = this.pipeline.tokenize(texts);
    const ids: Tensor = tensor2d(inputIds, shape, 'int32'); // [2B, L]
    try {
      const { value, params } = await this.#vjp(textEncoder.params, [ids], dy);
      value.dispose();
      return { ...weights, ...prefixed(params) };
    } finally {
      dispose([ids, dy!]);
    }
  }
}
