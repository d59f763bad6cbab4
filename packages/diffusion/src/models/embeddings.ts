import { concat, cos, mul, pad, reshape, sin, tensor2d, type Tensor, type Tensor2D } from '@tensorflow/tfjs-core';
import { linear, silu } from '@alignprop/autograd-ext';
import type { ParamsSpec } from '@alignprop/autograd-ext/weights';
import { linearSpec, type LinearParams } from './layers.js';

/** How timesteps become sinusoids. */
export interface TimestepsOptions {
  /** Width of the embedding. */
  readonly channels: number;
  /** Cosines before sines. */
  readonly flipSinToCos: boolean;
  /** Subtracted from the number of frequencies in the exponent's denominator. */
  readonly freqShift: number;
}

/**
 * Sinusoidal embeddings of timesteps, float32 `[B]` to `[B, channels]` (diffusers `get_timestep_embedding`; arXiv
 * 1706.03762, §3.5). Frequencies are rounded to float32 at every step, as torch's are: at t = 999 the sinusoids of
 * float64 frequencies differ by 5e-5.
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

/** The weights of a `TimestepEmbedding`. */
export type TimestepEmbeddingParams = { linear_1: LinearParams; linear_2: LinearParams };

/** The weights of a timestep MLP. */
export function timestepMlpSpec(channels: number, width: number): ParamsSpec {
  return { linear_1: linearSpec(channels, width), linear_2: linearSpec(width, width) };
}

/** The MLP over sinusoids, `[B, channels]` to `[B, width]` (diffusers `TimestepEmbedding`). */
export function timestepMlp(params: TimestepEmbeddingParams, x: Tensor): Tensor {
  const y = silu(linear(x, params.linear_1.weight, params.linear_1.bias));
  return linear(y, params.linear_2.weight, params.linear_2.bias);
}
