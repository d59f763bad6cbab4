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

/**
 * The scheduler's config for a checkpoint. Files of models that predict the velocity mark it by the key `v_pred`, and
 * a schedule that ends in pure noise by `ztsnr`; those of Stable Diffusion 2.x do not tell, and are taken for it.
 */
export function schedulerConfig(
  weights: Weights,
  kind: CheckpointKind,
  predictionType: string | undefined,
  onWarning?: (message: string) => void,
): ConfigInput {
  const config = schedulers[kind];
  if (kind === 'Stable Diffusion 2.x' && predictionType === undefined)
    onWarning?.(
      'a checkpoint of Stable Diffusion 2.x does not tell whether it predicts noise or velocity: velocity is ' +
        "assumed. Pass predictionType 'epsilon' for a base model of 512 pixels, if images are noise.",
    );
  const marked = weights.has('v_pred') ? 'v_prediction' : config.prediction_type;
  return {
    ...config,
    prediction_type: predictionType ?? marked,
    ...(weights.has('ztsnr') && { rescale_betas_zero_snr: true }),
  };
}
