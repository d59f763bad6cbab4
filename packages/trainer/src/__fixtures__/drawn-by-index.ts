import { concat, dispose, type Tensor4D } from '@tensorflow/tfjs-core';
import { random } from '@alignprop/autograd-ext';
import { drawNoise, type StableDiffusionPipeline } from '@alignprop/diffusion';
import type { AlignPropConfigInput } from '../config/config.js';
import type { PromptFunction } from '../step/micro-batch.js';

const prompts = ['cat', 'dog', 'horse', 'crab', 'snail', 'zebra'];

/**
 * Draws nothing at random beyond what `drawnByIndex` draws. Rounding depends on the batch size, and with a small ε
 * AdamW would turn rounding errors in gradients that are nearly zero into steps of full size.
 */
export const undrawn: AlignPropConfigInput = {
  sample_eta: 0,
  truncated_backprop_rand: false,
  truncated_backprop_timestep: 1,
  train_adam_epsilon: 1e-4,
};

/**
 * A pipeline and a prompt function that draw, also the noise of denoising steps, by the index of the image in the run
 * instead of the seed of the rank.
 * Ranks with batches of n then draw the same images as one process with batches of n · size.
 * @param batch the batch size of this rank
 */
export function drawnByIndex(
  pipeline: StableDiffusionPipeline,
  batch: number,
  { rank, size } = { rank: 0, size: 1 },
): { pipeline: StableDiffusionPipeline; promptFunction: PromptFunction<undefined> } {
  const counter = (): (() => number) => {
    let count = 0;
    return () => {
      const [round, place] = [Math.floor(count / batch), count++ % batch];
      return (round * size + rank) * batch + place;
    };
  };
  const [nextPrompt, nextLatents] = [counter(), counter()];
  let indices: readonly number[] = []; // of the images that are being denoised
  const joined = (each: Tensor4D[]): Tensor4D => {
    const all = concat(each);
    dispose(each);
    return all;
  };
  const fixed = (from: StableDiffusionPipeline): StableDiffusionPipeline => {
    const copy = from.with({});
    copy.prepareLatents = ({ batch: images, ...options }) => {
      indices = Array.from({ length: images }, nextLatents);
      return joined(indices.map((i) => from.prepareLatents({ ...options, batch: 1, generator: random(1000 + i) })));
    };
    copy.denoise = (start, { generator: _, ...options }) => {
      const [drawn, [, ...shape]] = [indices, start.shape];
      const noise = ({ index: step }: { index: number }) =>
        joined(drawn.map((i) => drawNoise([1, ...shape], random(5000 + 100 * i + step))));
      return from.denoise(start, { ...options, noise });
    };
    copy.with = (parts) => fixed(from.with(parts));
    return copy;
  };
  return { pipeline: fixed(pipeline), promptFunction: () => prompts[nextPrompt() % prompts.length]! };
}
