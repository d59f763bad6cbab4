import { matMul, type Tensor, type Tensor2D } from '@tensorflow/tfjs-core';
import { linear, type Matrix } from '@alignprop/autograd-ext';
import type { ParamsSpec } from '@alignprop/autograd-ext/weights';
import { linearSpec } from '../models/layers.js';
import type { ClipLayout } from './encoder.js';

/** A projection into the joint embedding space: weight `[out, in]`, or open_clip's matrix `[in, out]`. */
export type ProjectionParams = { weight: Matrix } | { matrix: Tensor };

/** Returns the weights that a projection requires, in the layout of the checkpoint. */
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

/** Projects pooled tokens `[B, in]` to embeddings `[B, out]`. */
export function project(pooled: Tensor2D, params: ProjectionParams): Tensor2D {
  return 'matrix' in params ? matMul(pooled, params.matrix as Tensor2D) : (linear(pooled, params.weight) as Tensor2D);
}
