export {
  clipConfig,
  clipTextConfig,
  clipVisionConfig,
  type CLIPConfig,
  type CLIPTextConfig,
  type CLIPVisionConfig,
} from './clip-config.js';
export type { LoadClipOptions } from './define-clip-model.js';
export { CLIPModel, clipSpec, type CLIPModelParams } from './model.js';
export { clipArchitecture, type ClipArchitecture } from './open-clip.js';
export {
  clipText,
  CLIPTextModel,
  CLIPTextModelWithProjection,
  clipTextWithProjection,
  type CLIPTextOutput,
} from './text-model.js';
export { CLIPTokenizer, type Encoded, type EncodeOptions } from './tokenizer.js';
export { clipVision, CLIPVisionModelWithProjection, embedPatches, type CLIPVisionOutput } from './vision-model.js';

// What models of other families are described with, too.
export {
  count,
  counts,
  anything,
  oneOf,
  readConfig,
  real,
  reportConfig,
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
