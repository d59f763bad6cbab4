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

/** The weights of a `CLIPVisionModelWithProjection`. */
export type CLIPVisionModelWithProjectionParams = {
  vision_model: {
    embeddings: { class_embedding: Tensor1D; patch_embedding: { weight: Tensor }; position_embedding: EmbeddingParams };
    pre_layrnorm: NormParams; // sic
    encoder: ClipEncoderParams;
    post_layernorm: NormParams;
  };
  visual_projection: ProjectionParams;
};

/** A vision model's outputs. */
export interface CLIPVisionOutput {
  /** The image in the space shared with texts, `[B, D]`, not normalised. */
  readonly imageEmbeds: Tensor2D;
  /** Class token and patches after the last layer, `[B, 1 + N, C]`. */
  readonly lastHiddenState: Tensor3D;
  /** What the first layer is given and every layer's output, `[B, 1 + N, C]` each. */
  readonly hiddenStates: readonly Tensor3D[];
}

/** The weights that a config demands. */
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

/** Class token and patches with their positions, `[B, 1 + N, C]`. */
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
 * The convolution whose stride is its kernel's size, as one linear map of each patch: its gradient would else be taken
 * as that of any strided convolution, at a cost that grows with the patch's area.
 * @param pixels `[B, H, W, in]`; what is beyond whole patches is not seen
 * @param weight `[C, in, p, p]`
 * @param bias `[C]`
 * @returns the patches row by row, `[B, N, C]`
 */
export function embedPatches(pixels: Tensor4D, weight: Tensor4D, bias?: Tensor1D): Tensor3D {
  const [width, channels, size] = weight.shape;
  const [batch, rows, columns] = [
    pixels.shape[0],
    Math.floor(pixels.shape[1] / size),
    Math.floor(pixels.shape[2] / size),
  ];
  const whole = slice(pixels, 0, [batch, rows * size, columns * size, channels]);
  const strips = reshape(whole, [batch * rows, size, columns, size * channels]);
  // [B, N, p·p·in]
  const patches = reshape(transpose(strips, [0, 2, 1, 3]), [batch, rows * columns, size * size * channels]);
  return linear(patches, reshape(transpose(weight, [0, 2, 3, 1]), [width, size * size * channels]), bias) as Tensor3D;
}

/** CLIP's image encoder and projection. */
export const CLIPVisionModelWithProjection = defineClipModel(
  'CLIPVisionModelWithProjection',
  clipVisionConfig,
  clipVisionSpec,
  ['vision_model', 'visual_projection'],
);
export type CLIPVisionModelWithProjection = PretrainedModel<CLIPVisionConfig>;
