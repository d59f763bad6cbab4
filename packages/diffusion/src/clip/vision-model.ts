import {
  add,
  concat,
  reshape,
  slice,
  tile,
  transpose,
  type Tensor,
  type Tensor1D,
  type Tensor2D,
  type Tensor3D,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { linear, type Params } from '@alignprop/autograd-ext';
import type { ParamsSpec } from '@alignprop/autograd-ext/weights';
import { normSpec, type EmbeddingParams, type NormParams } from '../models/layers.js';
import type { PretrainedModel } from '../models/pretrained-model.js';
import { clipVisionConfig, type CLIPVisionConfig } from './clip-config.js';
import { clipEncoder, clipEncoderSpec, clipLayerNorm, type ClipEncoderParams } from './encoder.js';
import { defineClipModel } from './define-clip-model.js';
import { project, projectionSpec, type ProjectionParams } from './projection.js';

/** The weights of transformers' `CLIPVisionModelWithProjection`. */
export type CLIPVisionModelWithProjectionParams = {
  vision_model: {
    embeddings: { class_embedding: Tensor1D; patch_embedding: { weight: Tensor }; position_embedding: EmbeddingParams };
    pre_layrnorm: NormParams; // transformers' spelling
    encoder: ClipEncoderParams;
    post_layernorm: NormParams;
  };
  visual_projection: ProjectionParams;
};

/** The outputs of an image encoder. */
export interface CLIPVisionOutput {
  /** The image in the joint embedding space, `[B, D]`, not normalised. */
  readonly imageEmbeds: Tensor2D;
  /** The last layer's output: class token and patches, `[B, 1 + N, C]`. */
  readonly lastHiddenState: Tensor3D;
  /** The input of the first layer and the output of every layer, `[B, 1 + N, C]` each. */
  readonly hiddenStates: readonly Tensor3D[];
}

/** Returns the weights that an image encoder with projection requires. */
export function clipVisionSpec(config: CLIPVisionConfig): ParamsSpec {
  const { hidden_size: width, image_size, patch_size, num_channels } = config;
  const patches = Math.floor(image_size / patch_size) ** 2;
  return {
    vision_model: {
      embeddings: {
        class_embedding: { shape: [width] },
        patch_embedding: { weight: { shape: [width, num_channels, patch_size, patch_size] } },
        position_embedding: { weight: { shape: [1 + patches, width] } },
      },
      pre_layrnorm: normSpec(width),
      encoder: clipEncoderSpec(config),
      post_layernorm: normSpec(width),
    },
    visual_projection: projectionSpec(config),
  };
}

/**
 * transformers' `CLIPVisionModelWithProjection` (arXiv 2103.00020, §2.4; arXiv 2010.11929).
 * @param pixels `[B, image_size, image_size, 3]`, normalised with CLIP's mean and standard deviation
 */
export function clipVision(config: CLIPVisionConfig, params: Params, pixels: Tensor4D): CLIPVisionOutput {
  const { vision_model, visual_projection } = params as unknown as CLIPVisionModelWithProjectionParams;
  const tokens = clipLayerNorm(
    config,
    vision_model.pre_layrnorm,
    embed(config, vision_model.embeddings, pixels),
  ) as Tensor3D;
  const hiddenStates = clipEncoder(config, vision_model.encoder, tokens, { causal: false });
  const lastHiddenState = hiddenStates.at(-1)!;
  const [batch, , width] = lastHiddenState.shape;
  const classToken = reshape(slice(lastHiddenState, [0, 0, 0], [batch, 1, width]), [batch, width]);
  const pooled = clipLayerNorm(config, vision_model.post_layernorm, classToken) as Tensor2D; // [B, C]
  return { imageEmbeds: project(pooled, visual_projection), lastHiddenState, hiddenStates };
}

/** Embeds class token and patches and adds their positions, `[B, 1 + N, C]`. */
function embed(
  { hidden_size: width }: CLIPVisionConfig,
  {
    class_embedding,
    patch_embedding,
    position_embedding,
  }: CLIPVisionModelWithProjectionParams['vision_model']['embeddings'],
  pixels: Tensor4D,
): Tensor {
  const classToken = tile(reshape(class_embedding, [1, 1, width]), [pixels.shape[0], 1, 1]);
  return add(
    concat([classToken, embedPatches(pixels, patch_embedding.weight as Tensor4D)], 1),
    position_embedding.weight,
  );
}

/**
 * Computes a convolution whose stride equals its kernel size as one matrix product over patches. The general gradient
 * of a strided convolution would cost more, in proportion to the area of a patch.
 * @param pixels `[B, H, W, in]`; ignores pixels beyond the last whole patch
 * @param weight `[C, in, p, p]`
 * @param bias `[C]`
 * @returns the embedded patches row by row, `[B, N, C]`
 */
export function embedPatches(pixels: Tensor4D, weight: Tensor4D, bias?: Tensor1D): Tensor3D {
  const [width, channels, size] = weight.shape;
  const [batch, height, pixelsPerRow] = pixels.shape;
  const [rows, columns] = [Math.floor(height / size), Math.floor(pixelsPerRow / size)];
  const whole = slice(pixels, 0, [batch, rows * size, columns * size, channels]);
  const strips = reshape(whole, [batch * rows, size, columns, size * channels]);
  const inputs = size * size * channels;
  const patches = reshape(transpose(strips, [0, 2, 1, 3]), [batch, rows * columns, inputs]); // [B, N, p·p·in]
  const matrix = reshape(transpose(weight, [0, 2, 3, 1]), [width, inputs]); // [C, p·p·in]
  return linear(patches, matrix, bias) as Tensor3D;
}

/** The image encoder of CLIP with its projection. */
export const CLIPVisionModelWithProjection = defineClipModel(
  'CLIPVisionModelWithProjection',
  clipVisionConfig,
  clipVisionSpec,
  ['vision_model', 'visual_projection'],
);
export type CLIPVisionModelWithProjection = PretrainedModel<CLIPVisionConfig>;
