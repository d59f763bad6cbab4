import {
  checkDPMSolver,
  dpmSolverChecks,
  dpmSolverDefaults,
  dpmSolverReplacements,
  isStochastic,
  solverStep,
  unclippedTimesteps,
  type DPMSolverConfig,
} from './dpm-solver.js';
import { newestCalls, noCoefficients, schedulerClass } from './scheduler-class.js';
import { multistepOrder } from './multistep-order.js';
import { solverSchedule } from './sigma-schedules.js';
import { checkCurves, sigmaSteps, trainingSigmas } from './sigmas.js';
import { timestepSpacings, type SpacingConfig } from './spacing.js';

const name = 'DPMSolverMultistepScheduler';

/** Options of `DPMSolverMultistepScheduler`, under diffusers' names in `scheduler_config.json`. */
type DPMSolverMultistepConfig = DPMSolverConfig &
  SpacingConfig & {
    /** Whether the last step is of order 1. */
    euler_at_final: boolean;
    /** Noise levels that are equidistant in log σ over the training timesteps. */
    use_lu_lambdas: boolean;
    rescale_betas_zero_snr: boolean;
  };

/**
 * DPM-Solver and DPM-Solver++ (arXiv 2206.00927, 2211.01095) as multistep rules, with and without noise: diffusers'
 * `DPMSolverMultistepScheduler`.
 */
export const DPMSolverMultistepScheduler = schedulerClass<DPMSolverMultistepConfig>({
  name,
  defaults: {
    ...dpmSolverDefaults,
    euler_at_final: false,
    use_lu_lambdas: false,
    timestep_spacing: 'linspace',
    steps_offset: 0,
    rescale_betas_zero_snr: false,
  },
  checks: { ...dpmSolverChecks, timestep_spacing: timestepSpacings },
  replacements: dpmSolverReplacements,
  terminalAlpha: 2 ** -24,
  rule: (config, alphas) => {
    checkCurves(name, config);
    checkDPMSolver(name, config);
    const sigmas = trainingSigmas(alphas);
    const scheduling = {
      last: unclippedTimesteps(config, sigmas),
      isLogSpaced: config.use_lu_lambdas,
      truncates: config.beta_schedule === 'squaredcos_cap_v2',
    };
    const endsInFirstOrder = config.euler_at_final || config.final_sigmas_type === 'zero';
    return {
      historyLength: config.solver_order - 1,
      timesteps: (count) =>
        sigmaSteps(
          solverSchedule(`${name}.timesteps`, config, sigmas, count, scheduling),
          config.final_sigmas_type === 'zero' ? 0 : sigmas[0]!,
        ),
      drawsNoise: () => isStochastic(config),
      coefficients: noCoefficients(name),
      step: (modelOutput, step, sample, { history, noise }) => {
        const order = multistepOrder(config, step, endsInFirstOrder);
        const earlier = newestCalls(name, step, history, order - 1);
        const calls = [...earlier, { modelOutput, sample }].reverse();
        return solverStep({ config, step, calls, base: 0, noise: isStochastic(config) ? noise : undefined });
      },
    };
  },
});
