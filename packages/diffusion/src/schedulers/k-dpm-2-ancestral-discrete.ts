import {
  logMidpoint,
  midpointChecks,
  midpointDefaults,
  midpointInput,
  midpointStep,
  midpointSteps,
  type MidpointConfig,
  type MidpointRule,
} from './midpoint-step.js';
import { noCoefficients, schedulerClass } from './scheduler-class.js';
import { ancestralLevels, checkCurves, trainingSigmas } from './sigmas.js';
import { placeOf } from './two-call-steps.js';

const name = 'KDPM2AncestralDiscreteScheduler';

const levels: MidpointRule = (from, next) => {
  const { down, up } = ancestralLevels(from, next);
  return { from, middle: logMidpoint(from, down), to: down, up };
};

/**
 * The midpoint rule with fresh noise after every step, as in k-diffusion's DPM2 ancestral: diffusers'
 * `KDPM2AncestralDiscreteScheduler`. A step takes two model calls.
 */
export const KDPM2AncestralDiscreteScheduler = schedulerClass<MidpointConfig>({
  name,
  defaults: midpointDefaults,
  checks: midpointChecks,
  rule: (config, alphas) => {
    checkCurves(name, config);
    const sigmas = trainingSigmas(alphas);
    return {
      historyLength: 1,
      timesteps: (count) => midpointSteps(`${name}.timesteps`, config, sigmas, count, levels),
      inputSigma: (step) => midpointInput(step, levels),
      drawsNoise: (step) => placeOf(step).isSecond,
      coefficients: noCoefficients(name),
      step: (modelOutput, step, sample, options) =>
        midpointStep(name, config, levels, { modelOutput, step, sample }, options),
    };
  },
});
