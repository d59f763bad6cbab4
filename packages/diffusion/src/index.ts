export {
  clipText,
  CLIPTextModel,
  CLIPTextModelWithProjection,
  clipTextWithProjection,
  type CLIPTextOutput,
} from './clip/text-model.js';
export { CLIPTokenizer, type Encoded, type EncodeOptions } from './clip/tokenizer.js';
export type { CLIPTextConfig } from './clip/clip-config.js';
export type { Canvas } from './image/canvas.js';
export type { ImageEncoding, ImageType } from './image/encode-image.js';
export { GeneratedImage } from './image/generated-image.js';
export { imageGrid, type ImageGridOptions } from './image/image-grid.js';
export { formatParameters, type GenerationSettings } from './image/parameters.js';
export { decodePng, encodePng, type EncodePngOptions, type RgbImage } from './image/png.js';
export type { SharpImage } from './image/sharp.js';
export { toUint8 } from './image/to-uint8.js';
export { AutoencoderKL, vaeDecode, vaeEncode, type AutoencoderKLConfig } from './models/autoencoder-kl.js';
export { pixelsPerLatent } from './models/autoencoder.js';
export type { Autoencoder, AutoencoderConfig, Decoder, DecoderConfig } from './models/autoencoder.js';
export { AutoencoderTiny, tinyDecode, tinyEncode, type AutoencoderTinyConfig } from './models/autoencoder-tiny.js';
export { linearDecode, LinearDecoder, type LinearDecoderConfig } from './models/linear-decoder.js';
export { saveModel } from './models/save-model.js';
export { unet2DCondition, UNet2DConditionModel, type UNet2DConditionConfig } from './models/unet-2d-condition.js';
export type { Annealing } from './pipelines/annealed.js';
export {
  ChainInputs,
  checkInterval,
  disposeInputs,
  guidedInputs,
  predictionInputs,
  usesGuidance,
  type ChainGuidance,
  type Conditioning,
  type GuidanceInterval,
  type GuidedInputs,
  type PromptEncoding,
} from './pipelines/conditioning.js';
export type { Denoised, DenoiseOptions } from './pipelines/denoise.js';
export type { GeneratedImages, GeneratedTensors } from './pipelines/generated.js';
export type {
  GenerateInput,
  GenerateOptions,
  ImageOutput,
  Prompt,
  Spelled,
  StepProgress,
  TensorOutput,
} from './pipelines/generate-options.js';
export {
  guidedPrediction,
  predictionWithFeatures,
  shallowPrediction,
  type GuidanceOptions,
} from './pipelines/guidance.js';
export { roundHalfEven } from './round-half-even.js';
export { noisedTo } from './pipelines/chain-start.js';
export { fitLinearDecoder, type LinearFit } from './pipelines/fit-linear-decoder.js';
export { decodeImages } from './pipelines/image-decoder.js';
export { drawNoise, type NoiseGenerator } from './pipelines/latents.js';
export { savePipeline } from './pipelines/save-pipeline.js';
export type { FromPretrainedOptions, StableDiffusionParts } from './pipelines/load-parts.js';
export { modelKind, readModelConfigs, type ModelConfigs, type ModelKind } from './pipelines/model-kind.js';
export type { ModelName, ModelParams } from './pipelines/model-params.js';
export type { EncodePromptOptions } from './pipelines/prompt-encoder.js';
export { StableDiffusionPipeline } from './pipelines/stable-diffusion.js';
export type { MicroConditions } from './pipelines/time-ids.js';
export { idsFor, textStages, type TextStage } from './pipelines/text-stages.js';
export type { TextualInversionOptions, TokenEmbeddings } from './pipelines/textual-inversion.js';
export { createScheduler, isSchedulerName, schedulerFor, schedulerNames } from './schedulers/create-scheduler.js';
export { DDIMScheduler, type DDIMConfig, type DDIMStepOptions } from './schedulers/ddim.js';
export { DDPMScheduler } from './schedulers/ddpm.js';
export { DEISMultistepScheduler } from './schedulers/deis-multistep.js';
export { DPMSolverMultistepScheduler } from './schedulers/dpm-solver-multistep.js';
export { DPMSolverSinglestepScheduler } from './schedulers/dpm-solver-singlestep.js';
export { EulerAncestralDiscreteScheduler } from './schedulers/euler-ancestral-discrete.js';
export { EulerDiscreteScheduler, type EulerStepOptions } from './schedulers/euler-discrete.js';
export { HeunDiscreteScheduler } from './schedulers/heun-discrete.js';
export { KDPM2AncestralDiscreteScheduler } from './schedulers/k-dpm-2-ancestral-discrete.js';
export { KDPM2DiscreteScheduler } from './schedulers/k-dpm-2-discrete.js';
export { LCMScheduler } from './schedulers/lcm.js';
export { LMSDiscreteScheduler } from './schedulers/lms-discrete.js';
export { PNDMScheduler, type PNDMConfig } from './schedulers/pndm.js';
export type { SchedulerClass } from './schedulers/scheduler-class.js';
export { TCDScheduler } from './schedulers/tcd.js';
export { UniPCMultistepScheduler } from './schedulers/uni-pc-multistep.js';
export type {
  ModelCall,
  Scheduler,
  SchedulerConfig,
  Step,
  StepCoefficients,
  StepOptions,
  StepOutput,
} from './schedulers/scheduler.js';
export type { FromSingleFileOptions } from './single-file/open-single-file.js';
