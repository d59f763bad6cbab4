import type { Tensor } from '@tensorflow/tfjs-core';
import type { Params } from '@alignprop/autograd-ext';
import type { GuidedUNet } from './guided-unet.js';

/**
 * Predictions at steps that the gradient does not enter. With an interval N above 1, only every Nth of them runs the
 * whole UNet; the others run its shallow part from the deep features of the step before (DeepCache, arXiv 2312.00858).
 * It owns the features until `forget`.
 */
export class FeatureReuse {
  #features: Tensor | undefined;

  constructor(readonly unet: GuidedUNet) {}

  /** @param index the step's place in the walk: multiples of N are predicted whole */
  async predict(index: number, params: Params, inputs: readonly Tensor[]): Promise<readonly Tensor[]> {
    const { predict, reuse } = this.unet;
    if (!reuse) return predict(params, ...inputs);
    if (this.#features && index % reuse.interval !== 0 && this.#features.shape[0] === inputs[2]!.shape[0])
      return reuse.shallow(params, this.#features, ...inputs);
    this.forget();
    const [prediction, features] = await reuse.whole(params, ...inputs);
    this.#features = features;
    return [prediction!];
  }

  /** Frees the features, so that the next prediction is whole: after a step that gave none. */
  forget(): void {
    this.#features?.dispose();
    this.#features = undefined;
  }
}
