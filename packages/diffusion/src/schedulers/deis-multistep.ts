import { combine, type Term } from './combination.js';
import { multistepOrder } from './multistep-order.js';
import { epsilonOf, mix, predictOriginal, thresholdBound, unitLevels } from './prediction.js';
import { newestCalls, noCoefficients, schedulerClass } from './scheduler-class.js';
import { solverSchedule } from './sigma-schedules.js';
import { checkCurves, curveOf, sigmaSteps, trainingSigmas } from './sigmas.js';
import { solverChecks, solverDefaults, type SolverConfig } from './solver-config.js';
import { timestepSpacings, type SpacingConfig } from './spacing.js';

const name = 'DEISMultistepScheduler';

/** Options of `DEISMultistepScheduler`, under diffusers' names in `scheduler_config.json`. */
type DEISConfig = SolverConfig & SpacingConfig & { algorithm_type: 'deis'; solver_type: 'logrho' };

/**
 * Exponential integrators with polynomials in log ρ (arXiv 2204.13902, the multistep rule log ρ AB): diffusers'
 * `DEISMultistepScheduler`.
 */
export const DEISMultistepScheduler = schedulerClass<DEISConfig>({
  name,
  defaults: {
    ...solverDefaults,
    algorithm_type: 'deis',
    solver_type: 'logrho',
    timestep_spacing: 'linspace',
    steps_offset: 0,
  },
  checks: {
    ...solverChecks,
    algorithm_type: ['deis'],
    solver_type: ['logrho'],
    timestep_spacing: timestepSpacings,
  },
  replacements: {
    algorithm_type: { dpmsolver: 'deis', 'dpmsolver++': 'deis' },
    solver_type: { midpoint: 'logrho', heun: 'logrho', bh1: 'logrho', bh2: 'logrho' },
  },
  rule: (config, alphas) => {
    checkCurves(name, config);
    const sigmas = trainingSigmas(alphas);
    const bound = thresholdBound(config);
    return {
      historyLength: config.solver_order - 1,
      timesteps: (count) => {
        const schedule = solverSchedule(`${name}.timesteps`, config, sigmas, count);
        return sigmaSteps(schedule, curveOf(config) ? schedule.sigmas.at(-1)! : sigmas[0]!);
      },
      coefficients: noCoefficients(name),
      step: (modelOutput, step, sample, { history }) => {
        const order = multistepOrder(config, step, false);
        const earlier = newestCalls(name, step, history, order - 1);
        const calls = [...earlier, { modelOutput, sample }].reverse();
        const levels = calls.map((_, i) => step.sigmas![step.index - i]!);
        const to = step.sigmas![step.index + 1]!;
        const { signal } = unitLevels(to);
        const terms: Term[] = [[signal / unitLevels(levels[0]!).signal, sample]];
        const originals = calls.map((call, i) => {
          const original = predictOriginal(config.prediction_type, unitLevels(levels[i]!), call, bound);
          const epsilon = mix(epsilonOf('sample', unitLevels(levels[i]!)), call.sample, original);
          terms.push([signal * logLagrangeIntegral(levels, i, to), epsilon]);
          return original;
        });
        return { prevSample: combine(terms), predOriginalSample: originals[0]! };
      },
    };
  },
});

/** The integral, from the newest level to `to`, of the polynomial in log σ that is 1 at one level and 0 elsewhere. */
function logLagrangeIntegral(levels: readonly number[], current: number, to: number): number {
  const others = levels.filter((_, i) => i !== current).map(Math.log);
  const own = Math.log(levels[current]!);
  const scale = others.reduce((product, other) => product * (own - other), 1);
  const [c = 0, d = 0] = others;
  const antiderivative = (sigma: number) => {
    const log = Math.log(sigma);
    if (others.length === 0) return sigma;
    if (others.length === 1) return sigma * (log - 1 - c);
    return sigma * (log ** 2 - 2 * log + 2 - (c + d) * (log - 1) + c * d);
  };
  return (antiderivative(to) - antiderivative(levels[0]!)) / scale;
}
