import { dispose, scalar, tensor1d, type Tensor3D } from '@tensorflow/tfjs-core';
import { guidedEmbeds, guidedPrediction, type StableDiffusionPipeline } from '@alignprop/diffusion';
import type { Chain } from './backprop.js';

/** The embeddings of one micro-batch, `[B, L, D]` each. */
interface Conditioning {
  readonly promptEmbeds: Tensor3D;
  readonly negativePromptEmbeds?: Tensor3D;
}

/** A pipeline's denoising chain, for `walkUp`: compiled once, then given the embeddings of each micro-batch. */
export function pipelineChain(
  { engine, unet, scheduler }: StableDiffusionPipeline,
  { guidanceScale, eta }: { guidanceScale: number; eta: number },
): (conditioning: Conditioning) => { chain: Chain; release: () => void } {
  const predict = guidedPrediction(unet.config);
  const both = engine.compileVjp(predict, { wrt: [0] });
  const weightsOnly = engine.compileVjp(predict);

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
        return { params, inputs };
      },
    };
    return { chain, release: () => dispose([embeds, scale]) };
  };
}
