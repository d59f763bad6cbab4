export type { CLIPConfig, CLIPTextConfig, CLIPVisionConfig } from './clip-config.js';
export type { LoadClipOptions } from './define-clip-model.js';
export { CLIPModel, type CLIPModelParams } from './model.js';
export type { ClipArchitecture } from './open-clip.js';
export {
  clipText,
  CLIPTextModel,
  CLIPTextModelWithProjection,
  clipTextWithProjection,
  type CLIPTextOutput,
} from './text-model.js';
export { CLIPTokenizer, type Encoded, type EncodeOptions } from './tokenizer.js';
export { clipVision, CLIPVisionModelWithProjection, embedPatches, type CLIPVisionOutput } from './vision-model.js';

// Configs and weight specs, for other transformers: the reward package defines BLIP and YOLOS with them.
export {
  anything,
  count,
  counts,
  layerCount,
  oneOf,
  readConfig,
  real,
  reportConfig,
  tokenCount,
  type ConfigInput,
  type ConfigOf,
  type Field,
} from '../models/model-config.js';
export {
  linearSpec,
  normSpec,
  repeatSpec,
  type EmbeddingParams,
  type LinearParams,
  type NormParams,
} from '../models/layers.js';
