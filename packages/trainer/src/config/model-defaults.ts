import { modelKind, type ModelConfigs } from '@alignprop/diffusion';
import type { AlignPropConfig } from './config.js';
import { trainableSchedulers } from './trainable-schedulers.js';

/** The options whose defaults depend on the model. */
type ModelDefaults = Partial<
  Pick<
    AlignPropConfig,
    | 'scheduler'
    | 'sample_num_steps'
    | 'sample_guidance_scale'
    | 'sample_eta'
    | 'truncated_backprop_timestep'
    | 'truncated_rand_backprop_minmax'
    | 'backprop_kwargs'
  >
>;

/**
 * Returns the options that a few-step model sets where they are not given: the scheduler, steps and guidance that it
 * was distilled for, and truncations that fit as few steps. Step i of T is attached with the probability (i + 1) / T,
 * and the last always. Other models have the defaults of TRL, for which it returns nothing.
 * @param given options in snake case; `scheduler` and `sample_num_steps` are read
 */
export function modelDefaults(model: ModelConfigs, given: Readonly<Record<string, unknown>>): ModelDefaults {
  const kind = modelKind(
    model,
    trainableSchedulers.find((name) => name === given.scheduler),
  );
  if (!kind.isFewStep) return {};
  const { sample_num_steps = kind.numInferenceSteps } = given;
  const steps = typeof sample_num_steps === 'number' ? sample_num_steps : kind.numInferenceSteps;
  const defaults: Required<ModelDefaults> = {
    scheduler: 'config',
    sample_num_steps: steps,
    sample_guidance_scale: kind.guidanceScale,
    sample_eta: 0, // their schedulers do not read it, or are deterministic with it
    truncated_backprop_timestep: steps - 1,
    truncated_rand_backprop_minmax: [0, steps - 1],
    backprop_kwargs: {
      uniform: { min: 0, max: steps },
      gaussian: { mean: 0.84 * steps, std: 0.1 * steps },
    },
  };
  return Object.fromEntries(Object.entries(defaults).filter(([option]) => !Object.hasOwn(given, option)));
}
