import type { Tensor, Tensor4D } from '@tensorflow/tfjs-core';
import type { ChainStart } from './chain-start.js';
import type { Denoised } from './denoise.js';
import type { GenerateOptions } from './generate-options.js';

/**
 * Follows a chain to its end, or to where `onStep` stops it, and keeps only the newest latents, which it returns. Adds
 * every tensor to `intermediates`.
 */
export async function followChain(
  start: ChainStart,
  chain: AsyncGenerator<Denoised, void, void>,
  onStep: GenerateOptions['onStep'],
  intermediates: Tensor[],
): Promise<Tensor4D> {
  let { latents } = start;
  let index = 0;
  let isStopped = false;
  const stop = () => void (isStopped = true);
  const total = start.steps.length;
  for await (const { step, latents: next, modelOutput } of chain) {
    modelOutput.dispose();
    latents.dispose();
    latents = next;
    intermediates.push(latents);
    await onStep?.({ index: index++, total, t: step.t, latents, step, stop });
    if (isStopped) break;
  }
  return latents;
}
