import { dispose, tensor2d, type Tensor } from '@tensorflow/tfjs-core';
import { trainable } from '@alignprop/autograd-ext';
import { clipText, type StableDiffusionPipeline } from '@alignprop/diffusion';
import type { Gradients } from '../optim/gradients.js';
import { prefixed } from '../model/trained-weights.js';

/** Where the walk up adds up the gradient of the embeddings, `[2B or B, L, D]`, among those of the weights. */
export const embedsPath = 'prompt_embeds';

/** Whether a pipeline's text encoder has something to train, so that the gradient of the embeddings is needed. */
export const trainsTextEncoder = ({ textEncoder }: StableDiffusionPipeline): boolean =>
  Object.keys(trainable(textEncoder.params)).length > 0;

/**
 * Takes the gradient of the embeddings, summed over the attached steps, through the text encoder: one vector-Jacobian
 * product a micro-batch. The function given back frees that gradient and adds those of the text encoder's weights in
 * its place, under `text_encoder.`; the texts are those of the embeddings, in their order.
 */
export function textEncoderGradients(
  pipeline: StableDiffusionPipeline,
): (gradients: Gradients, texts: readonly string[]) => Promise<Gradients> {
  if (!trainsTextEncoder(pipeline)) return (gradients) => Promise.resolve(gradients);
  const { engine, textEncoder, tokenizer } = pipeline;
  const vjp = engine.compileVjp((params, ids) => clipText(textEncoder.config, params, ids as never).lastHiddenState);
  return async ({ [embedsPath]: dy, ...gradients }, texts) => {
    const { inputIds, shape } = tokenizer.encode(texts);
    const ids: Tensor = tensor2d(inputIds, shape, 'int32');
    try {
      const { value, params } = await vjp(textEncoder.params, [ids], dy);
      value.dispose();
      return { ...gradients, ...prefixed(params) };
    } finally {
      dispose([ids, dy!]);
    }
  };
}
