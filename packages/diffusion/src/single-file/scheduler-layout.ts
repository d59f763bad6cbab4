import type { ConfigInput } from '../models/model-config.js';
import type { CheckpointKind, Weights } from './checkpoint-kind.js';

const noise = { beta_start: 0.00085, beta_end: 0.012, beta_schedule: 'scaled_linear', num_train_timesteps: 1000 };

/** The schedulers of the published models. */
const schedulers: Readonly<Record<CheckpointKind, ConfigInput>> = {
  'Stable Diffusion 1.x': {
    ...noise,
    _class_name: 'PNDMScheduler',
    skip_prk_steps: true,
    set_alpha_to_one: false,
    clip_sample: false,
    steps_offset: 1,
    prediction_type: 'epsilon',
  },
  'Stable Diffusion 2.x': {
    ...noise,
    _class_name: 'DDIMScheduler',
    set_alpha_to_one: false,
    clip_sample: false,
    steps_offset: 1,
    prediction_type: 'v_prediction',
  },
  SDXL: {
    ...noise,
    _class_name: 'EulerDiscreteScheduler',
    timestep_spacing: 'leading',
    interpolation_type: 'linear',
    use_karras_sigmas: false,
    steps_offset: 1,
    prediction_type: 'epsilon',
  },
};

/** The schedulers of the published models that were distilled to one step. */
const turboSchedulers: Readonly<Partial<Record<CheckpointKind, ConfigInput>>> = {
  'Stable Diffusion 2.x': {
    ...noise,
    _class_name: 'EulerDiscreteScheduler',
    timestep_spacing: 'trailing',
    steps_offset: 1,
    prediction_type: 'epsilon',
  },
  SDXL: {
    ...noise,
    _class_name: 'EulerAncestralDiscreteScheduler',
    timestep_spacing: 'trailing',
    steps_offset: 1,
    prediction_type: 'epsilon',
  },
};

/**
 * The names of the files of SD-Turbo and SDXL-Turbo, as published: `sd_turbo.safetensors` and
 * `sd_xl_turbo_1.0_fp16.safetensors`. Nothing in the files tells them from the models that they were distilled from.
 */
const turboName = /^sd_(?:xl_)?turbo(?=[_.])/i;

/** The number of training steps of Stable Diffusion 2.x's base model, which predicts noise. */
const BASE_STEPS = 875_000;

/** Signs of the prediction type of a model besides the keys of its file. */
export interface SchedulerHints {
  /** The prediction that the caller names. */
  readonly predictionType: string | undefined;
  /** `global_step` of the checkpoint, where the file has it. */
  readonly globalStep: unknown;
  /** The name of the file. */
  readonly file?: string;
  readonly onWarning?: (message: string) => void;
}

/**
 * The scheduler's config for a checkpoint. Files of models that predict the velocity mark it by the key `v_pred`, and
 * a schedule that ends in pure noise by `ztsnr`. Those of Stable Diffusion 2.x predict noise after 875000 steps, as
 * diffusers' `from_single_file` has it, and the velocity otherwise; a file without the number of steps is taken for
 * one that predicts the velocity, with a warning. SD-Turbo and SDXL-Turbo are known by the published names of their
 * files.
 */
export function schedulerConfig(
  weights: Weights,
  kind: CheckpointKind,
  { predictionType, globalStep, file = '', onWarning }: SchedulerHints,
): ConfigInput {
  const turbo = turboName.test(file) ? turboSchedulers[kind] : undefined;
  if (turbo) return { ...turbo, ...(predictionType && { prediction_type: predictionType }) };
  const config = schedulers[kind];
  if (kind === 'Stable Diffusion 2.x' && predictionType === undefined && globalStep === undefined)
    onWarning?.(
      'a checkpoint of Stable Diffusion 2.x does not tell whether it predicts noise or velocity: velocity is ' +
        "assumed. Pass predictionType 'epsilon' for a base model of 512 pixels, if images are noise.",
    );
  const isBase = kind === 'Stable Diffusion 2.x' && Number(globalStep) === BASE_STEPS;
  const marked = weights.has('v_pred') ? 'v_prediction' : isBase ? 'epsilon' : config.prediction_type;
  return {
    ...config,
    prediction_type: predictionType ?? marked,
    ...(weights.has('ztsnr') && { rescale_betas_zero_snr: true }),
  };
}
