import { add, concat, cos, mul, pad, reshape, sin, tensor2d, type Tensor, type Tensor2D } from '@tensorflow/tfjs-core';
import { linear, silu } from '@alignprop/autograd-ext';
import type { ParamsSpec } from '@alignprop/autograd-ext/weights';
import { linearSpec, type LinearParams } from './layers.js';

/** Options of `timestepEmbedding`. */
export interface TimestepsOptions {
  /** Width of the embedding. */
  readonly channels: number;
  /** Puts cosines before sines. */
  readonly flipSinToCos: boolean;
  /** Subtracted from the number of frequencies in the exponent's denominator. */
  readonly freqShift: number;
}

/**
 * Computes sinusoidal embeddings of timesteps, float32 `[B]` to `[B, channels]`: diffusers' `get_timestep_embedding`
 * (arXiv 1706.03762, §3.5). Rounds the frequencies to float32 after every operation, as torch does: with float64
 * frequencies the result differs by 5e-5 at t = 999.
 */
export function timestepEmbedding(
  timesteps: Tensor,
  { channels, flipSinToCos, freqShift }: TimestepsOptions,
): Tensor2D {
  const half = Math.floor(channels / 2);
  const frequencies = tensor2d(float32Frequencies(half, freqShift), [1, half]);
  const angles = mul(reshape(timesteps, [-1, 1]), frequencies); // [B, half]
  const halves = flipSinToCos ? [cos(angles), sin(angles)] : [sin(angles), cos(angles)];
  const embedding = concat(halves, 1) as Tensor2D;
  return channels % 2 === 0
    ? embedding
    : pad(embedding, [
        [0, 0],
        [0, 1],
      ]);
}

function float32Frequencies(half: number, freqShift: number): Float32Array {
  const { fround } = Math;
  const slope = fround(-Math.log(10000));
  return Float32Array.from({ length: half }, (_, i) => Math.exp(fround(fround(slope * i) / fround(half - freqShift))));
}

/** The weights of diffusers' `TimestepEmbedding`. */
export type TimestepEmbeddingParams = { cond_proj?: LinearParams; linear_1: LinearParams; linear_2: LinearParams };

/**
 * Returns the weights that a `TimestepEmbedding` requires.
 * @param conditionChannels width of the condition that is added to the sinusoids; null for none
 */
export function timestepMlpSpec(
  channels: number,
  width: number,
  conditionChannels: number | null = null,
): { readonly [key: string]: ParamsSpec } {
  return {
    ...(conditionChannels === null ? {} : { cond_proj: linearSpec(conditionChannels, channels, { bias: false }) }),
    linear_1: linearSpec(channels, width),
    linear_2: linearSpec(width, width),
  };
}

/**
 * diffusers' `TimestepEmbedding`: an MLP from sinusoids `[B, channels]` to `[B, width]`.
 * @param condition `[B, conditionChannels]`; needed if the embedding has a `cond_proj`
 */
export function timestepMlp(
  { cond_proj, linear_1, linear_2 }: TimestepEmbeddingParams,
  x: Tensor,
  condition?: Tensor,
): Tensor {
  const input = cond_proj && condition ? add(x, linear(condition, cond_proj.weight)) : x;
  const y = silu(linear(input, linear_1.weight, linear_1.bias));
  return linear(y, linear_2.weight, linear_2.bias);
}
