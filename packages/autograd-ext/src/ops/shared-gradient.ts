import { engine, keep, tidy, type Tensor } from '@tensorflow/tfjs-core';

/**
 * Shares one computation between the gradient thunks of several inputs. The returned function runs `compute` on its
 * first call and returns the same tensor on every call; the tensor is disposed when the backward pass ends. Call
 * `sharedGradient` in an op's `gradient`, outside the thunks: tfjs runs each thunk in a tidy of its own.
 */
export function sharedGradient(compute: () => Tensor): () => Tensor {
  let shared: Tensor | undefined;
  // When a scope ends, tfjs calls `dispose` on everything it tracks: this object disposes the tensor, if computed.
  const release = { id: -1, kept: false, dispose: () => shared?.dispose() };
  engine().state.activeScope.track.push(release as unknown as Tensor);
  return () => (shared ??= keep(tidy(compute)));
}
