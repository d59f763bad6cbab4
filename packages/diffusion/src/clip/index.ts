export { clipTextConfig, clipVisionConfig, type CLIPTextConfig, type CLIPVisionConfig } from './config.js';
export { clipText, CLIPTextModel, CLIPTextModelWithProjection, clipTextWithProjection, type CLIPTextOutput } from './text-model.js';
export { clipVision, CLIPVisionModelWithProjection, type CLIPVisionOutput } from './vision-model.js';
