import type { Tensor1D, Tensor4D } from '@tensorflow/tfjs-core';

/** The argument of an image hook. Tensors stay the trainer's; clone those that must outlive the call. */
export interface ImageSamples<M> {
  /**
   * The training images of this process's last micro-batch of the step, drawn before the weights moved, `[B, H, W, 3]`
   * in [0, 1].
   */
  readonly images: Tensor4D;
  readonly prompts: readonly string[];
  readonly promptMetadata: readonly M[];
  /** `[B]` */
  readonly rewards: Tensor1D;
}
