import { checkOptions, createEngine, ensureBackend, optionNames, type Engine } from '@alignprop/autograd-ext';
import {
  hubOptionNames,
  readJson,
  resolveSource,
  subfolder as openSubfolder,
  type FileSource,
  type HubOptions,
} from '@alignprop/autograd-ext/weights';
import { CLIPTextModel, CLIPTextModelWithProjection } from '../clip/text-model.js';
import { CLIPTokenizer } from '../clip/tokenizer.js';
import { autoencoders, type Autoencoder } from '../models/autoencoder.js';
import { UNet2DConditionModel } from '../models/unet-2d-condition.js';
import { folderScheduler } from '../schedulers/create-scheduler.js';
import type { Scheduler } from '../schedulers/scheduler.js';
import { autoencoderOf, classOf, isXL, readModelIndex } from './model-index.js';
import { checkPartConfigs } from './part-configs.js';
import { partVariants } from './part-variants.js';

/** The parts of a pipeline; see `StableDiffusionPipeline.with`. */
export interface StableDiffusionParts {
  tokenizer: CLIPTokenizer;
  textEncoder: CLIPTextModel;
  /** SDXL's second tokenizer and text encoder; undefined for Stable Diffusion 1.x and 2.x. */
  tokenizer2?: CLIPTokenizer;
  textEncoder2?: CLIPTextModelWithProjection;
  unet: UNet2DConditionModel;
  vae: Autoencoder;
  scheduler: Scheduler;
  engine: Engine;
  /** Whether SDXL takes zeros, and not the encoding of '', where no negative prompt is given; true by default. */
  forceZerosForEmptyPrompt?: boolean;
}

/** Options of `StableDiffusionPipeline.fromPretrained`; those of the hub are used for a hub id. */
export interface FromPretrainedOptions extends HubOptions {
  /** The folder of the pipeline inside the location. */
  subfolder?: string;
  /**
   * Variant of the weight files, e.g. 'fp16' for `diffusion_pytorch_model.fp16.safetensors`. Models without such files
   * are loaded from their plain files.
   */
  variant?: string;
  /** The fastest installed engine by default; see `createEngine`. */
  engine?: Engine;
  /** Replaces the scheduler of the folder, whose file is not read then; corrected as the constructor does. */
  scheduler?: Scheduler;
  /**
   * Called with what diffusers warns of (a variant that some models lack, a hub that does not answer), and with the
   * reason if the slower engine is chosen.
   */
  onWarning?: (message: string) => void;
}

const fromPretrainedOptionNames = [
  ...optionNames<Omit<FromPretrainedOptions, keyof HubOptions>>({
    subfolder: true,
    variant: true,
    engine: true,
    scheduler: true,
  }),
  ...hubOptionNames,
];

/** Opens the parts of a diffusers folder; see `StableDiffusionPipeline.fromPretrained`. */
export async function loadParts(
  location: string | FileSource,
  { variant, engine, scheduler, subfolder, ...hubOptions }: FromPretrainedOptions,
): Promise<StableDiffusionParts> {
  checkOptions('StableDiffusionPipeline.fromPretrained', hubOptions, fromPretrainedOptionNames);
  await ensureBackend();
  const { onWarning, signal } = hubOptions;
  const root = await resolveSource(location, hubOptions);
  const source = subfolder ? openSubfolder(root, subfolder) : root;
  const index = await readModelIndex(source);
  await checkPartConfigs(source, index);
  const variants = await partVariants(source, index, variant, onWarning);
  const options = (part: string) => ({ subfolder: part, variant: variants(part), signal });
  return {
    tokenizer: await CLIPTokenizer.fromPretrained(source, { subfolder: 'tokenizer', signal }),
    textEncoder: await CLIPTextModel.fromPretrained(source, options('text_encoder')),
    ...(isXL(index) && {
      tokenizer2: await CLIPTokenizer.fromPretrained(source, { subfolder: 'tokenizer_2', signal }),
      textEncoder2: await CLIPTextModelWithProjection.fromPretrained(source, options('text_encoder_2')),
      forceZerosForEmptyPrompt: index.force_zeros_for_empty_prompt !== false,
    }),
    unet: await UNet2DConditionModel.fromPretrained(source, options('unet')),
    vae: await autoencoders[autoencoderOf(index)].fromPretrained(source, options('vae')),
    scheduler:
      scheduler ??
      folderScheduler(await readJson(source, 'scheduler/scheduler_config.json'), classOf(index, 'scheduler')),
    engine: engine ?? (await createEngine({ ...(onWarning && { onWarning }) })),
  };
}
