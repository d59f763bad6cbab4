import {
  distillationChecks,
  distillationDefaults,
  distilledTimesteps,
  type DistillationConfig,
} from './distillation.js';
import { linearCoefficients, type LinearRule } from './linear-step.js';
import { combine, type Term } from './combination.js';
import { alphaAt } from './noise-level.js';
import {
  clipBound,
  levelsOf,
  mix,
  originalOf,
  thresholdBound,
  thresholdChecks,
  thresholdDefaults,
  type ClipConfig,
  type ThresholdConfig,
} from './prediction.js';
import { refuseBound, schedulerClass } from './scheduler-class.js';
import type { Step } from './scheduler.js';

const name = 'LCMScheduler';

/** σ_data of the boundary conditions. */
const dataDeviation = 0.5;

/** Options of `LCMScheduler`, under diffusers' names in `scheduler_config.json`. */
type LCMConfig = DistillationConfig &
  ClipConfig &
  ThresholdConfig & {
    /** The factor of timesteps in the boundary conditions. */
    timestep_scaling: number;
  };

/**
 * Latent consistency models (arXiv 2310.04378): diffusers' `LCMScheduler`. Every step predicts x_0 and adds noise up to
 * the level of the next one. The `predOriginalSample` of a step is under the model's boundary condition.
 */
export const LCMScheduler = schedulerClass<LCMConfig>({
  name,
  defaults: {
    ...distillationDefaults,
    ...thresholdDefaults,
    clip_sample_range: 1,
    timestep_scaling: 10,
  },
  checks: { ...distillationChecks, ...thresholdChecks },
  rule: (config, alphas) => {
    const bound = thresholdBound(config) ?? clipBound(config);
    return {
      timesteps: (count) => distilledTimesteps(`${name}.timesteps`, config, count),
      drawsNoise: ({ prev }) => prev >= 0,
      coefficients: (step) => {
        refuseBound(name, bound);
        const { signal, denoised, noise, original } = lcmFactors(config, alphas, step);
        const next = { original: signal * denoised.original, sample: signal * denoised.sample, modelOutput: 0, noise };
        return linearCoefficients({ original, next } satisfies LinearRule);
      },
      step: (modelOutput, step, sample, { noise: z }) => {
        const { signal, denoised, noise, original } = lcmFactors(config, alphas, step);
        const unbounded = mix(original, sample, modelOutput);
        const predOriginalSample = combine([
          [denoised.original, bound ? bound.apply(unbounded) : unbounded],
          [denoised.sample, sample],
        ]);
        const terms: Term[] = [[signal, predOriginalSample]];
        if (noise > 0) terms.push([noise, z!]);
        return { prevSample: combine(terms), predOriginalSample };
      },
    };
  },
});

/** The levels after a step, and the boundary condition c_out · x_0 + c_skip · x (formula 9 of the paper). */
function lcmFactors(config: LCMConfig, alphas: Float32Array, { t, prev }: Step) {
  const scaled = t * config.timestep_scaling;
  const power = scaled ** 2 + dataDeviation ** 2;
  return {
    ...(prev >= 0 ? levelsOf(alphaAt(name, alphas, prev)) : { signal: 1, noise: 0 }),
    original: originalOf(config.prediction_type, levelsOf(alphaAt(name, alphas, t))),
    denoised: { original: scaled / Math.sqrt(power), sample: dataDeviation ** 2 / power },
  };
}
