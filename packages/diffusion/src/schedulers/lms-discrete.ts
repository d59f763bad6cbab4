import { betaChecks, betaDefaults, type BetaConfig } from './betas.js';
import { combine, type Term } from './combination.js';
import { predictOriginal, predictionTypes, type PredictionType } from './prediction.js';
import { callsBefore, newestCalls, noCoefficients, schedulerClass } from './scheduler-class.js';
import { derivativeSchedule } from './sigma-schedules.js';
import { checkCurves, sigmaDefaults, sigmaSteps, trainingSigmas, type SigmaConfig } from './sigmas.js';
import { timestepSpacings, type SpacingConfig } from './spacing.js';

const name = 'LMSDiscreteScheduler';
const largestOrder = 4;

/** Options of `LMSDiscreteScheduler`, under diffusers' names in `scheduler_config.json`. */
type LMSConfig = BetaConfig & SpacingConfig & SigmaConfig & { prediction_type: PredictionType };

/** A linear multistep method of order 4 on dx/dσ, as in k-diffusion: diffusers' `LMSDiscreteScheduler`. */
export const LMSDiscreteScheduler = schedulerClass<LMSConfig>({
  name,
  defaults: {
    ...betaDefaults,
    ...sigmaDefaults,
    prediction_type: 'epsilon',
    timestep_spacing: 'linspace',
    steps_offset: 0,
  },
  checks: { ...betaChecks, prediction_type: predictionTypes, timestep_spacing: timestepSpacings },
  rule: (config, alphas) => {
    checkCurves(name, config);
    const sigmas = trainingSigmas(alphas);
    return {
      historyLength: largestOrder - 1,
      timesteps: (count) => sigmaSteps(derivativeSchedule(`${name}.timesteps`, config, sigmas, count), 0),
      inputSigma: ({ index, sigmas: levels }) => levels![index]!,
      coefficients: noCoefficients(name),
      step: (modelOutput, step, sample, { history }) => {
        const order = Math.min(step.index + 1, largestOrder);
        // A chain from the middle lacks earlier calls: diffusers leaves their terms out, and keeps the order.
        const earlier = newestCalls(name, step, history, Math.min(order - 1, callsBefore(step)));
        const calls = [...earlier, { modelOutput, sample }].reverse();
        const terms: Term[] = [[1, sample]];
        const originals = calls.map((call, i) => {
          const sigma = step.sigmas![step.index - i]!;
          const original = predictOriginal(config.prediction_type, { signal: 1, noise: sigma }, call, undefined);
          const weight = lagrangeIntegral(step.sigmas!, step.index, order, i) / sigma;
          terms.push([weight, call.sample], [-weight, original]);
          return original;
        });
        return { prevSample: combine(terms), predOriginalSample: originals[0]! };
      },
    };
  },
});

/** The integral over a step of the polynomial that is 1 at one of the newest levels, and 0 at the others. */
function lagrangeIntegral(sigmas: readonly number[], index: number, order: number, current: number): number {
  const at = (sigma: number) => {
    let product = 1;
    for (let k = 0; k < order; k++)
      if (k !== current) product *= (sigma - sigmas[index - k]!) / (sigmas[index - current]! - sigmas[index - k]!);
    return product;
  };
  const [start, end] = [sigmas[index]!, sigmas[index + 1]!];
  return ((end - start) / 6) * (at(start) + 4 * at((start + end) / 2) + at(end)); // Simpson's rule: exact to degree 3
}
