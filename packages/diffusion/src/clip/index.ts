export { clipTextConfig, clipVisionConfig, type CLIPTextConfig, type CLIPVisionConfig } from './config.js';
export { clipText, CLIPTextModel, CLIPTextModelWithProjection, clipTextWithProjection, type CLIPTextOutput } from './text-model.js';
export { CLIPTokenizer, type Encoded, type EncodeOptions } from './tokenizer.js';
export { clipVision, CLIPVisionModelWithProjection, type CLIPVisionOutput } from './vision-model.js';
