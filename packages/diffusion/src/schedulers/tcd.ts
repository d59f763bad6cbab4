import {
  distillationChecks,
  distillationDefaults,
  distilledTimesteps,
  type DistillationConfig,
} from './distillation.js';
import { linearCoefficients, linearStep, type LinearRule } from './linear-step.js';
import { alphaAt } from './noise-level.js';
import { epsilonOf, levelsOf, originalOf } from './prediction.js';
import { schedulerClass } from './scheduler-class.js';
import type { Step } from './scheduler.js';

const name = 'TCDScheduler';

/**
 * Trajectory consistency distillation (arXiv 2402.19159): diffusers' `TCDScheduler`. A step goes to (1 - η) · the next
 * timestep and adds noise up to the next one; η is the paper's γ. As in diffusers, clipping has no effect.
 */
export const TCDScheduler = schedulerClass<DistillationConfig>({
  name,
  defaults: distillationDefaults,
  checks: distillationChecks,
  rule: (config, alphas) => ({
    timesteps: (count) => distilledTimesteps(`${name}.timesteps`, config, count),
    drawsNoise: ({ prev }, eta) => eta !== 0 && prev >= 0,
    coefficients: (step, eta) => linearCoefficients(tcdRule(config, alphas, step, eta)),
    step: (modelOutput, step, sample, { eta = 0, noise }) =>
      linearStep(
        tcdRule(config, alphas, step, eta),
        { modelOutput, sample, noise: eta !== 0 && step.prev >= 0 ? noise : undefined },
        undefined,
      ),
  }),
});

/** The steps of algorithm 4 of the paper. */
function tcdRule(
  { prediction_type }: DistillationConfig,
  alphas: Float32Array,
  { t, prev }: Step,
  eta: number,
): LinearRule {
  const levels = levelsOf(alphaAt(name, alphas, t));
  const target = Math.max(prev, 0);
  const alphaTarget = alphaAt(name, alphas, target);
  const alphaBetween = alphaAt(name, alphas, Math.floor((1 - eta) * target));
  const between = levelsOf(alphaBetween);
  const isNoised = eta !== 0 && prev >= 0;
  const kept = isNoised ? Math.sqrt(alphaTarget / alphaBetween) : 1;
  const epsilon = epsilonOf(prediction_type, levels);
  return {
    original: originalOf(prediction_type, levels),
    next: {
      original: kept * between.signal,
      sample: kept * between.noise * epsilon.sample,
      modelOutput: kept * between.noise * epsilon.modelOutput,
      noise: isNoised ? Math.sqrt(1 - alphaTarget / alphaBetween) : 0,
    },
  };
}
