import { dispose, scalar, tensor1d, type Tensor3D } from '@tensorflow/tfjs-core';
import type { Vjp } from '@alignprop/autograd-ext';
import { guidedEmbeds, guidedPrediction, type StableDiffusionPipeline } from '@alignprop/diffusion';
import type { Chain } from './backprop.js';
import { embedsPath, trainsTextEncoder } from './text-encoder-gradients.js';

/** The embeddings of one micro-batch, `[B, L, D]` each. */
interface Conditioning {
  readonly promptEmbeds: Tensor3D;
  readonly negativePromptEmbeds?: Tensor3D;
}

/** A pipeline's denoising chain, for `walkUp`: compiled once, then given the embeddings of each micro-batch. */
export function pipelineChain(
  pipeline: StableDiffusionPipeline,
  { guidanceScale, eta }: { guidanceScale: number; eta: number },
): (conditioning: Conditioning) => { chain: Chain; release: () => void } {
  const { engine, unet, scheduler } = pipeline;
  const predict = guidedPrediction(unet.config);
  const embedsInput = trainsTextEncoder(pipeline) ? [2] : [];
  const both = engine.compileVjp(predict, { wrt: [0, ...embedsInput] });
  const weightsOnly = engine.compileVjp(predict, { wrt: embedsInput });

  /** The gradient of the embeddings is summed up with those of the weights. */
  const withEmbeds = ({ params, inputs }: Pick<Vjp, 'params' | 'inputs'>): Pick<Vjp, 'params' | 'inputs'> =>
    embedsInput.length === 0 ? { params, inputs } : { params: { ...params, [embedsPath]: inputs.at(-1)! }, inputs: inputs.slice(0, -1) };

  return ({ promptEmbeds, negativePromptEmbeds }) => {
    const embeds = guidedEmbeds(promptEmbeds, negativePromptEmbeds, guidanceScale);
    const scale = scalar(guidanceScale);
    const chain: Chain = {
      scheduler,
      eta,
      async predictionVjp(latents, step, dy, inputGradient) {
        const timestep = tensor1d([step.t]);
        const { value, params, inputs } = await (inputGradient ? both : weightsOnly)(unet.params, [latents, timestep, embeds, scale], dy);
        dispose([value, timestep]);
        return withEmbeds({ params, inputs });
      },
    };
    return { chain, release: () => dispose([embeds, scale]) };
  };
}
