import { concat, dispose, slice, tensor1d, type Tensor1D, type Tensor4D } from '@tensorflow/tfjs-core';
import type { EvaluatedImages } from './evaluator.js';

/** Images of an evaluation that are shown. Tensors stay the trainer's. */
export interface EvaluationSamples {
  /** `[n, H, W, 3]` in [0, 1] */
  readonly images: Tensor4D;
  /** One per image. */
  readonly prompts: readonly string[];
  /** `[n]` */
  readonly rewards: Tensor1D;
}

/** Keeps the first images of an evaluation, so that memory does not grow with the number of prompts. */
export class ShownImages {
  readonly #limit: number;
  readonly #images: Tensor4D[] = [];
  readonly #prompts: string[] = [];
  readonly #rewards: number[] = [];

  /** @param limit the number of images to keep */
  constructor(limit = 16) {
    this.#limit = limit;
  }

  /** Keeps copies of the images that are below the limit. */
  add({ images, prompt, rewards }: EvaluatedImages): void {
    const count = Math.min(rewards.length, this.#limit - this.#rewards.length);
    if (count <= 0) return;
    this.#images.push(slice(images, 0, count));
    for (const reward of rewards.slice(0, count)) {
      this.#prompts.push(prompt);
      this.#rewards.push(reward);
    }
  }

  /** Calls a function with the images and frees them. There has to be one. */
  async show(view: (samples: EvaluationSamples) => void | Promise<void>): Promise<void> {
    const [images, rewards] = [concat(this.#images), tensor1d(this.#rewards)];
    try {
      await view({ images, prompts: this.#prompts, rewards });
    } finally {
      dispose([images, rewards]);
      this.dispose();
    }
  }

  dispose(): void {
    dispose(this.#images);
    this.#images.length = 0;
  }
}
