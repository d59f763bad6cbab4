import { matMul, type Tensor, type Tensor2D } from '@tensorflow/tfjs-core';
import { linear, type Matrix } from '@alignprop/autograd-ext';
import type { ParamsSpec } from '@alignprop/autograd-ext/weights';
import { linearSpec } from '../models/layers.js';
import type { ClipLayout } from './encoder.js';

/** A projection into the space that texts and images share: `[out, in]`, or as open_clip stores it, `[in, out]`. */
export type ProjectionParams = { weight: Matrix } | { matrix: Tensor };

/** The weights of a projection, as its checkpoint lays them out. */
export function projectionSpec({
  layout,
  hidden_size,
  projection_dim,
}: {
  layout: ClipLayout;
  hidden_size: number;
  projection_dim: number;
}): ParamsSpec {
  return layout === 'open_clip'
    ? { matrix: { shape: [hidden_size, projection_dim] } }
    : linearSpec(hidden_size, projection_dim, { bias: false });
}

/** Pooled tokens `[B, in]` to embeddings `[B, out]`. */
export function project(pooled: Tensor2D, params: ProjectionParams): Tensor2D {
  return 'matrix' in params ? matMul(pooled, params.matrix as Tensor2D) : (linear(pooled, params.weight) as Tensor2D);
}
