// CLIP's encoders as functions that engines compile.
import { clipByValue, div, sub, type Tensor4D } from '@tensorflow/tfjs-core';
import { resize, type ModelFunction } from '@alignprop/autograd-ext';
import type { CLIPTextConfig, CLIPVisionConfig } from '../clip-config.js';
import { clipText, clipTextWithProjection } from '../text-model.js';
import { clipVision } from '../vision-model.js';

const MEAN = [0.48145466, 0.4578275, 0.40821073];
const STD = [0.26862954, 0.26130258, 0.27577711];

/** `(params, inputIds)` to the last hidden state. */
export const hiddenStateFunction =
  (config: CLIPTextConfig): ModelFunction =>
  (params, inputIds) =>
    clipText(config, params, inputIds!).lastHiddenState;

/** `(params, inputIds)` to the projected text. */
export const textEmbedsFunction =
  (config: CLIPTextConfig): ModelFunction =>
  (params, inputIds) =>
    clipTextWithProjection(config, params, inputIds!).textEmbeds;

/** `(params, images in [0, 1])` to the projected images: resizes and normalises images as the rewards do. */
export const imageEmbedsFunction =
  (config: CLIPVisionConfig): ModelFunction =>
  (params, images) => {
    const resized = resize(clipByValue(images as Tensor4D, 0, 1), [224, 224], { mode: 'bilinear' });
    return clipVision(config, params, div(sub(resized, MEAN), STD)).imageEmbeds;
  };
