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
import { checkCurves, trainingSigmas } from './sigmas.js';

const name = 'KDPM2DiscreteScheduler';

const levels: MidpointRule = (from, to) => ({ from, middle: logMidpoint(from, to), to, up: 0 });

/**
 * The midpoint rule on dx/dσ, with the midpoint in log σ, as in k-diffusion's DPM2: diffusers'
 * `KDPM2DiscreteScheduler`. A step takes two model calls.
 */
export const KDPM2DiscreteScheduler = schedulerClass<MidpointConfig>({
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
      coefficients: noCoefficients(name),
      step: (modelOutput, step, sample, options) =>
        midpointStep(name, config, levels, { modelOutput, step, sample }, options),
    };
  },
});
