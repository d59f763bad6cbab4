import { engine, keep, tidy, type Tensor } from '@tensorflow/tfjs-core';

/**
 * For gradients of several inputs that come out of one computation: a function that runs `compute` when first called,
 * from whichever thunk, and hands out the same tensor until the backward pass is over. Call this in an op's `gradient`,
 * outside the thunks: each of those runs in a tidy of its own.
 */
export function sharedGradient(compute: () => Tensor): () => Tensor {
  let shared: Tensor | undefined;
  // tfjs calls `dispose` of whatever a scope tracks when it ends; this one stands for a tensor that may come to be.
  const release = { id: -1, kept: false, dispose: () => shared?.dispose() };
  engine().state.activeScope.track.push(release as unknown as Tensor);
  return () => (shared ??= keep(tidy(compute)));
}
