export { clipText, CLIPTextModel, CLIPTokenizer, type CLIPTextConfig, type CLIPTextOutput, type Encoded, type EncodeOptions } from './clip/index.js';
export { AutoencoderKL, vaeDecode, vaeEncode, type AutoencoderKLConfig } from './models/autoencoder-kl.js';
export { unet2DCondition, UNet2DConditionModel, type UNet2DConditionConfig } from './models/unet-2d-condition.js';
export { createScheduler, createStableDiffusionScheduler, schedulerClasses } from './schedulers/create-scheduler.js';
export { DDIMScheduler, type DDIMConfig, type DDIMStepOptions } from './schedulers/ddim.js';
export { PNDMScheduler, type PNDMConfig } from './schedulers/pndm.js';
export type { ModelCall, Scheduler, SchedulerConfig, Step, StepCoefficients, StepOptions, StepOutput } from './schedulers/scheduler.js';
