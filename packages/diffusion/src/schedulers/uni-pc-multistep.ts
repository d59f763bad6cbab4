import type { Tensor4D } from '@tensorflow/tfjs-core';
import { combine, type Term } from './combination.js';
import { epsilonOf, mix, predictOriginal, thresholdBound, unitLevels, type Bound } from './prediction.js';
import { callsBefore, newestCalls, noCoefficients, schedulerClass } from './scheduler-class.js';
import { numberList, numberOrNull } from './scheduler-config.js';
import type { ModelCall, Step } from './scheduler.js';
import { solverSchedule } from './sigma-schedules.js';
import { checkCurves, curveOf, finalSigmasTypes, sigmaSteps, trainingSigmas } from './sigmas.js';
import { solverChecks, solverDefaults, type SolverConfig } from './solver-config.js';
import { timestepSpacings, type SpacingConfig } from './spacing.js';
import { unifiedWeights, type UnifiedStep } from './unified-weights.js';

const name = 'UniPCMultistepScheduler';

/** Options of `UniPCMultistepScheduler`, under diffusers' names in `scheduler_config.json`. */
type UniPCConfig = SolverConfig &
  SpacingConfig & {
    /** Whether the rule extrapolates x_0, or ε. */
    predict_x0: boolean;
    /** The paper's B(h). */
    solver_type: 'bh1' | 'bh2';
    /** The indices of the steps whose result is not corrected. */
    disable_corrector: readonly number[];
    /** Another scheduler as the predictor is not supported. */
    solver_p: null;
    final_sigmas_type: (typeof finalSigmasTypes)[number];
    rescale_betas_zero_snr: boolean;
    sigma_min: number | null;
    sigma_max: number | null;
    shift_terminal: null;
  };

/**
 * The unified predictor-corrector (arXiv 2302.04867): diffusers' `UniPCMultistepScheduler`. Each call first corrects
 * the sample, with the model's output for it, and then predicts the next one.
 */
export const UniPCMultistepScheduler = schedulerClass<UniPCConfig>({
  name,
  defaults: {
    ...solverDefaults,
    predict_x0: true,
    solver_type: 'bh2',
    disable_corrector: [],
    solver_p: null,
    timestep_spacing: 'linspace',
    steps_offset: 0,
    final_sigmas_type: 'zero',
    rescale_betas_zero_snr: false,
    sigma_min: null,
    sigma_max: null,
    shift_terminal: null,
  },
  checks: {
    ...solverChecks,
    solver_type: ['bh1', 'bh2'],
    disable_corrector: numberList,
    solver_p: [null],
    timestep_spacing: timestepSpacings,
    final_sigmas_type: finalSigmasTypes,
    sigma_min: numberOrNull,
    sigma_max: numberOrNull,
    shift_terminal: [null],
  },
  replacements: { solver_type: { midpoint: 'bh2', heun: 'bh2', logrho: 'bh2' } },
  terminalAlpha: 2 ** -24,
  rule: (config, alphas) => {
    checkConfig(config);
    const sigmas = trainingSigmas(alphas);
    const bound = thresholdBound(config);
    return {
      historyLength: config.solver_order,
      timesteps: (count) => {
        const schedule = solverSchedule(`${name}.timesteps`, config, sigmas, count);
        const smallest = curveOf(config) ? schedule.sigmas.at(-1)! : sigmas[0]!;
        return sigmaSteps(schedule, config.final_sigmas_type === 'zero' ? 0 : smallest);
      },
      coefficients: noCoefficients(name),
      step: (modelOutput, step, sample, { history }) => {
        const isCorrected = correctsBefore(config, step);
        const order = orderOf(config, step);
        const orderBefore = isCorrected ? orderOf(config, { ...step, index: step.index - 1 }) : 0;
        const earlier = newestCalls(name, step, history, Math.max(order - 1, orderBefore));
        const calls = [...earlier, { modelOutput, sample }].reverse();
        const converted = calls.map((call, i) => convert(config, bound, step.sigmas![step.index - i]!, call));
        const corrected = isCorrected ? correct(config, step, sample, converted, orderBefore) : sample;
        return {
          prevSample: predict(config, step, corrected, converted, order),
          predOriginalSample: originalAt(config, bound, step.sigmas![step.index]!, calls[0]!),
        };
      },
    };
  },
});

/** @throws if options contradict one another */
function checkConfig(config: UniPCConfig): void {
  checkCurves(name, config);
  const infinite = [
    ...(config.solver_type === 'bh1' ? ['solver_type bh1'] : []),
    ...(config.predict_x0 ? [] : ['predict_x0 false']),
    ...(config.lower_order_final || config.solver_order === 1 ? [] : ['lower_order_final false']),
  ];
  if (config.final_sigmas_type === 'zero' && infinite.length > 0)
    throw new Error(
      `${name}: final_sigmas_type got zero with ${infinite.join(' and ')}, expected sigma_min: ` +
        'the last step is not finite otherwise. Set final_sigmas_type to sigma_min.',
    );
}

/** Whether the sample that a step starts from is corrected. */
const correctsBefore = ({ disable_corrector }: UniPCConfig, step: Step) =>
  callsBefore(step) > 0 && !disable_corrector.includes(step.index - 1);

/** The order of the predictor at a step. */
function orderOf({ solver_order, lower_order_final }: UniPCConfig, step: Step): number {
  const remaining = step.sigmas!.length - 1 - step.index;
  return Math.min(solver_order, callsBefore(step) + 1, lower_order_final ? remaining : Infinity);
}

/** The predicted x_0 of a call. */
const originalAt = (config: UniPCConfig, bound: Bound | undefined, sigma: number, call: ModelCall): Tensor4D =>
  predictOriginal(config.prediction_type, unitLevels(sigma), call, bound);

/** Returns the quantity that the rule extrapolates: x_0, or ε. */
const convert = (config: UniPCConfig, bound: Bound | undefined, sigma: number, call: ModelCall): Tensor4D =>
  config.predict_x0
    ? originalAt(config, bound, sigma, call)
    : mix(epsilonOf(config.prediction_type, unitLevels(sigma)), call.sample, call.modelOutput);

/** The step whose newest known level is at an index, as its weights see it. */
const unifiedStep = (
  { predict_x0, solver_type }: UniPCConfig,
  { sigmas }: Step,
  index: number,
  order: number,
): UnifiedStep => ({
  levels: Array.from({ length: order }, (_, i) => sigmas![index - i]!),
  to: sigmas![index + 1]!,
  predictsOriginal: predict_x0,
  solverType: solver_type,
});

/** Predicts the next sample. `converted` has the newest output first. */
function predict(
  config: UniPCConfig,
  step: Step,
  sample: Tensor4D,
  converted: readonly Tensor4D[],
  order: number,
): Tensor4D {
  const weights = unifiedWeights(unifiedStep(config, step, step.index, order)).predictor;
  return combine([[weights.sample, sample], ...weights.outputs.map((weight, i): Term => [weight, converted[i]!])]);
}

/**
 * Corrects a predicted sample with the model's output for it. Predictor and corrector differ in the weights of the
 * outputs alone, so that the difference of the two turns one's result into that of the other.
 */
function correct(
  config: UniPCConfig,
  step: Step,
  sample: Tensor4D,
  converted: readonly Tensor4D[],
  order: number,
): Tensor4D {
  const { predictor, corrector } = unifiedWeights(unifiedStep(config, step, step.index - 1, order));
  const changes = corrector.outputs.map((weight, i) => weight - (i === 0 ? 0 : predictor.outputs[i - 1]!));
  return combine([[1, sample], ...changes.map((weight, i): Term => [weight, converted[i]!])]);
}
