import type { Tensor } from '@tensorflow/tfjs-core';
import type { ParamsSpec } from '@alignprop/autograd-ext/weights';
import type { PretrainedModel } from '../models/pretrained-model.js';
import { clipConfig, type CLIPConfig } from './clip-config.js';
import { defineClipModel } from './define-clip-model.js';
import { clipTextWithProjectionSpec, type CLIPTextModelWithProjectionParams } from './text-model.js';
import { clipVisionSpec, type CLIPVisionModelWithProjectionParams } from './vision-model.js';

/**
 * The weights of a `CLIPModel`: both halves, for `clipTextWithProjection` and `clipVision`, and the logarithm of the
 * factor of the cosine similarity.
 */
export type CLIPModelParams = CLIPTextModelWithProjectionParams &
  CLIPVisionModelWithProjectionParams & { logit_scale: Tensor };

/** Returns the weights that a config requires. */
function clipSpec({ text_config, vision_config }: CLIPConfig): ParamsSpec {
  return { ...clipTextWithProjectionSpec(text_config), ...clipVisionSpec(vision_config), logit_scale: { shape: [] } };
}

/**
 * Both encoders of CLIP with their projections (arXiv 2103.00020): transformers' `CLIPModel`, or open_clip's `CLIP`
 * with a vision transformer. Loads transformers' files and open_clip's.
 */
export const CLIPModel = defineClipModel('CLIPModel', clipConfig, clipSpec, [
  'text_model',
  'text_projection',
  'vision_model',
  'visual_projection',
  'logit_scale',
]);
export type CLIPModel = PretrainedModel<CLIPConfig>;
