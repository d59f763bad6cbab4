import {
  isWeightFile,
  readJson,
  resolveSource,
  subfolder as openSubfolder,
  type FileSource,
} from '@alignprop/autograd-ext/weights';
import { schedulerFor } from '../schedulers/create-scheduler.js';
import { readSingleFileConfigs, type FromSingleFileOptions } from '../single-file/open-single-file.js';
import type { SchedulerConfig } from '../schedulers/scheduler.js';
import type { FromPretrainedOptions } from './load-parts.js';
import { classOf, isXL, readModelIndex } from './model-index.js';

/** A kind of model, and the settings that fit it. */
export interface ModelKind {
  readonly name: string;
  /** A name for `schedulerFor`, or `config` for the model's own scheduler. */
  readonly scheduler: string;
  readonly numInferenceSteps: number;
  readonly guidanceScale: number;
  /** Whether the model was distilled to so few steps that it is trained with them as well. */
  readonly isFewStep: boolean;
}

/** The configs that a kind is known by; a pipeline has them. */
export interface ModelConfigs {
  readonly isXL: boolean;
  readonly unet: { readonly config: { readonly time_cond_proj_dim?: number | null } };
  readonly scheduler: { readonly config: SchedulerConfig };
}

/** All kinds: the first one whose signs a model has is its kind. */
const kinds: readonly (ModelKind & { isKind(configs: ModelConfigs): boolean })[] = [
  {
    name: 'a latent consistency model',
    ...{ scheduler: 'config', numInferenceSteps: 4, guidanceScale: 8.5, isFewStep: true },
    isKind: ({ unet }) => (unet.config.time_cond_proj_dim ?? null) !== null,
  },
  {
    name: 'a model with the scheduler of consistency models, as for an LCM-LoRA',
    ...{ scheduler: 'config', numInferenceSteps: 4, guidanceScale: 1, isFewStep: true },
    isKind: ({ scheduler }) => ['LCMScheduler', 'TCDScheduler'].includes(scheduler.config._class_name as string),
  },
  {
    name: 'a few-step model such as SD-Turbo or SDXL-Turbo',
    ...{ scheduler: 'config', numInferenceSteps: 1, guidanceScale: 0, isFewStep: true },
    isKind: ({ scheduler }) => isTurbo(scheduler.config),
  },
  {
    name: 'SDXL',
    ...{ scheduler: 'ddim', numInferenceSteps: 50, guidanceScale: 5, isFewStep: false },
    isKind: (configs) => configs.isXL,
  },
  {
    name: 'Stable Diffusion',
    ...{ scheduler: 'ddim', numInferenceSteps: 50, guidanceScale: 7.5, isFewStep: false },
    isKind: () => true,
  },
];

/**
 * Returns the kind of a model.
 * @param scheduler the scheduler that replaces the model's, as `schedulerFor` names it; `config` for none
 */
export function modelKind(model: ModelConfigs, scheduler = 'config'): ModelKind {
  const own = kindOf(model);
  if (scheduler === 'config' || own.isFewStep) return own;
  return kindOf({ ...pickConfigs(model), scheduler: schedulerFor(scheduler, model.scheduler.config) });
}

type ModelConfigOptions = Omit<FromPretrainedOptions, 'engine' | 'scheduler' | 'variant'> &
  Pick<FromSingleFileOptions, 'config' | 'predictionType'>;

/**
 * Reads the configs that the kind of a model is known by; no weights.
 * @param location a diffusers folder: a directory, a hub id (`org/name`), or any `FileSource`; or the path of a
 *   checkpoint in one file, for which `config` and `predictionType` are as in `fromSingleFile`
 * @throws if it is no model, as `StableDiffusionPipeline.fromPretrained` and `fromSingleFile` do
 */
export async function readModelConfigs(
  location: string | FileSource,
  { subfolder, config, predictionType, ...options }: ModelConfigOptions = {},
): Promise<ModelConfigs> {
  if (typeof location === 'string' && isWeightFile(location))
    return readSingleFileConfigs(location, { config, predictionType, ...options });
  const root = await resolveSource(location, options);
  const source = subfolder ? openSubfolder(root, subfolder) : root;
  const index = await readModelIndex(source);
  const scheduler = (await readJson(source, 'scheduler/scheduler_config.json')) as SchedulerConfig;
  const unet = (await readJson(source, 'unet/config.json')) as ModelConfigs['unet']['config'];
  // The index says which class diffusers creates.
  const _class_name = classOf(index, 'scheduler') ?? scheduler._class_name;
  return { isXL: isXL(index), unet: { config: unet }, scheduler: { config: { ...scheduler, _class_name } } };
}

const kindOf = (configs: ModelConfigs): ModelKind => kinds.find(({ isKind }) => isKind(configs))!;

/** The getters of a pipeline are not copied by a spread. */
const pickConfigs = ({ isXL: xl, unet, scheduler }: ModelConfigs): ModelConfigs => ({ isXL: xl, unet, scheduler });

/**
 * Whether a scheduler is that of a model distilled to one step: Euler from the last timestep on. Models with a
 * terminal SNR of 0 begin there as well, and predict v.
 */
const isTurbo = ({
  _class_name,
  timestep_spacing,
  prediction_type = 'epsilon',
  rescale_betas_zero_snr,
}: SchedulerConfig) =>
  ['EulerDiscreteScheduler', 'EulerAncestralDiscreteScheduler'].includes(_class_name as string) &&
  timestep_spacing === 'trailing' &&
  prediction_type === 'epsilon' &&
  rescale_betas_zero_snr !== true;
