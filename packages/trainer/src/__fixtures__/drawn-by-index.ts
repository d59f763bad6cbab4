import { concat, dispose, type Tensor4D } from '@tensorflow/tfjs-core';
import { random } from '@alignprop/autograd-ext';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import type { AlignPropConfigInput } from '../config/config.js';
import type { PromptFunction } from '../step/micro-batch.js';

const prompts = ['cat', 'dog', 'horse', 'crab', 'snail', 'zebra'];

/**
 * Nothing is left to chance but what `drawnByIndex` draws. With a small ε AdamW would make as much of the rounding in
 * gradients that are nearly zero as of large ones, and batches of other sizes round differently.
 */
export const undrawn: AlignPropConfigInput = {
  sample_eta: 0,
  truncated_backprop_rand: false,
  truncated_backprop_timestep: 1,
  train_adam_epsilon: 1e-4,
};

/**
 * What a run draws, as a function of the image's number in the run instead of the rank's seed: so ranks with batches of
 * n draw what one process with batches of n · size does.
 * @param batch of this rank
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
  const fixed = (from: StableDiffusionPipeline): StableDiffusionPipeline => {
    const copy = from.with({});
    copy.prepareLatents = ({ batch: images, ...options }) => {
      const each = Array.from({ length: images }, () =>
        from.prepareLatents({ ...options, batch: 1, generator: random(1000 + nextLatents()) }),
      );
      const all = concat(each) as Tensor4D;
      dispose(each);
      return all;
    };
    copy.with = (parts) => fixed(from.with(parts));
    return copy;
  };
  return { pipeline: fixed(pipeline), promptFunction: () => prompts[nextPrompt() % prompts.length]! };
}
