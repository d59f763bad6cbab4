import { dispose, type Tensor4D } from '@tensorflow/tfjs-core';
import { decodeImages, type StableDiffusionPipeline } from '@alignprop/diffusion';

/** Images, and the way back to the latents. */
export interface Decoded {
  /** `[B, H, W, 3]` in [0, 1]; the caller's. */
  readonly images: Tensor4D;
  /** The gradient of the latents, the caller's. */
  backward(imageGradients: Tensor4D): Promise<Tensor4D>;
  release(): void;
}

/**
 * Decodes latents, which stay the caller's: once, if the engine can keep what the gradient needs, else once more for
 * the gradient.
 */
export function differentiableDecoder(pipeline: StableDiffusionPipeline): (latents: Tensor4D) => Promise<Decoded> {
  const { engine, vae } = pipeline;
  const decodeVjp = engine.compileVjp(decodeImages(vae.config), { wrt: [0] });
  return async (latents) => {
    const kept = await decodeVjp.keep?.(vae.params, [latents]);
    return {
      images: (kept ? kept.outputs[0] : await pipeline.decode(latents)) as Tensor4D,
      release: () => kept?.release(),
      async backward(imageGradients) {
        if (kept) return (await kept.backward(imageGradients)).inputs[0] as Tensor4D;
        const { value, inputs } = await decodeVjp(vae.params, [latents], imageGradients);
        dispose(value);
        return inputs[0] as Tensor4D;
      },
    };
  };
}
