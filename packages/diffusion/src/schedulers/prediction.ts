import {
  abs,
  clipByValue,
  div,
  maximum,
  minimum,
  mul,
  neg,
  onesLike,
  reshape,
  type Tensor2D,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { combine } from './combination.js';
import { quantile } from './quantile.js';
import { fraction, type FieldChecks } from './scheduler-config.js';
import type { ModelCall } from './scheduler.js';

/** A quantity that a model predicts: ε, v = √ᾱ ε - √(1 - ᾱ) x_0 (arXiv 2202.00512, appendix D), or x_0. */
export const predictionTypes = ['epsilon', 'v_prediction', 'sample'] as const;

export type PredictionType = (typeof predictionTypes)[number];

/** A noisy sample is signal · x_0 + noise · ε. */
export interface Levels {
  readonly signal: number;
  readonly noise: number;
}

/** A linear combination of a sample and the model's output for it. */
export interface Mixture {
  readonly sample: number;
  readonly modelOutput: number;
}

/** Returns √ᾱ and √(1 - ᾱ). */
export const levelsOf = (alpha: number): Levels => ({ signal: Math.sqrt(alpha), noise: Math.sqrt(1 - alpha) });

/** Returns the levels of a sample of unit variance at the noise level σ. */
export const unitLevels = (sigma: number): Levels => {
  const signal = 1 / Math.sqrt(sigma * sigma + 1);
  return { signal, noise: sigma * signal };
};

/** Returns x_0 as a mixture of the sample and the model's output. */
export function originalOf(type: PredictionType, { signal, noise }: Levels): Mixture {
  if (type === 'sample') return { sample: 0, modelOutput: 1 };
  if (type === 'epsilon') return { sample: 1 / signal, modelOutput: -noise / signal };
  const power = signal * signal + noise * noise;
  return { sample: signal / power, modelOutput: -noise / Math.sqrt(power) };
}

/** Returns ε as a mixture of the sample and the model's output. */
export function epsilonOf(type: PredictionType, { signal, noise }: Levels): Mixture {
  if (type === 'sample') return { sample: 1 / noise, modelOutput: -signal / noise };
  if (type === 'epsilon') return { sample: 0, modelOutput: 1 };
  const power = signal * signal + noise * noise;
  return { sample: noise / power, modelOutput: signal / Math.sqrt(power) };
}

/** Computes a mixture. */
export const mix = (mixture: Mixture, sample: Tensor4D, modelOutput: Tensor4D): Tensor4D =>
  combine([
    [mixture.sample, sample],
    [mixture.modelOutput, modelOutput],
  ]);

/** The options of clipping, under their names in `scheduler_config.json`. */
export type ClipConfig = {
  /** Clips the predicted x_0 to ±`clip_sample_range`. */
  clip_sample: boolean;
  clip_sample_range: number;
};

/** The options of dynamic thresholding (arXiv 2205.11487, §2.3). */
export type ThresholdConfig = {
  /** Bounds the predicted x_0 by a quantile of its values; replaces clipping. */
  thresholding: boolean;
  dynamic_thresholding_ratio: number;
  sample_max_value: number;
};

/** The defaults of thresholding that all classes have. */
export const thresholdDefaults: ThresholdConfig = {
  thresholding: false,
  dynamic_thresholding_ratio: 0.995,
  sample_max_value: 1,
};

/** The checks of thresholding that all classes have. */
export const thresholdChecks = { dynamic_thresholding_ratio: fraction } as const satisfies FieldChecks<ThresholdConfig>;

/** A bound of the predicted x_0; undefined for none. */
export interface Bound {
  /** The option that asks for it. */
  readonly option: 'clip_sample' | 'thresholding';
  readonly apply: (original: Tensor4D) => Tensor4D;
}

/** Returns the bound that `clip_sample` asks for. */
export const clipBound = ({ clip_sample, clip_sample_range: range }: ClipConfig): Bound | undefined =>
  clip_sample ? { option: 'clip_sample', apply: (original) => clipByValue(original, -range, range) } : undefined;

/** Returns the bound that `thresholding` asks for. */
export const thresholdBound = (config: ThresholdConfig): Bound | undefined => {
  const { thresholding, dynamic_thresholding_ratio: ratio, sample_max_value: max } = config;
  return thresholding
    ? { option: 'thresholding', apply: (original) => dynamicThreshold(original, ratio, max) }
    : undefined;
};

/** Predicts x_0 from a model call, within the bound. */
export function predictOriginal(
  type: PredictionType,
  levels: Levels,
  { sample, modelOutput }: ModelCall,
  bound: Bound | undefined,
): Tensor4D {
  const original = mix(originalOf(type, levels), sample, modelOutput);
  return bound ? bound.apply(original) : original;
}

/** Clips each image to ±s and divides by s: its quantile of |x_0|, clipped to [1, max]. s, too, has a gradient. */
function dynamicThreshold(original: Tensor4D, ratio: number, max: number): Tensor4D {
  const flat: Tensor2D = reshape(original, [original.shape[0], -1]); // [B, h·w·C]
  const s = clipByValue(quantile(abs(flat), ratio), Math.min(1, max), max); // [B]
  // Broadcast to [B, h·w·C] here: tfjs's gradients of minimum and maximum do not sum over broadcast axes.
  const bound = mul(reshape(s, [-1, 1]), onesLike(flat));
  return reshape(div(minimum(maximum(flat, neg(bound)), bound), bound), original.shape);
}
