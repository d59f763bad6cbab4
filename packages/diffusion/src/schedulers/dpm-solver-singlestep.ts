import {
  algorithmTypes,
  checkDPMSolver,
  dpmSolverChecks,
  dpmSolverDefaults,
  dpmSolverReplacements,
  isStochastic,
  solverStep,
  unclippedTimesteps,
  type DPMSolverConfig,
} from './dpm-solver.js';
import { callsBefore, newestCalls, noCoefficients, schedulerClass } from './scheduler-class.js';
import { solverSchedule } from './sigma-schedules.js';
import { checkCurves, sigmaSteps, trainingSigmas } from './sigmas.js';

const name = 'DPMSolverSinglestepScheduler';

/**
 * DPM-Solver and DPM-Solver++ (arXiv 2206.00927, 2211.01095) as singlestep rules: diffusers'
 * `DPMSolverSinglestepScheduler`. The steps of a chain are grouped by `solver_order`; each starts where its group
 * does, with one more model call than the step before.
 */
export const DPMSolverSinglestepScheduler = schedulerClass<DPMSolverConfig>({
  name,
  defaults: { ...dpmSolverDefaults, lower_order_final: false },
  checks: { ...dpmSolverChecks, algorithm_type: algorithmTypes.filter((type) => type !== 'sde-dpmsolver') },
  replacements: dpmSolverReplacements,
  rule: (config, alphas) => {
    checkCurves(name, config);
    checkDPMSolver(name, config);
    const sigmas = trainingSigmas(alphas);
    const spacing = { ...config, timestep_spacing: 'linspace', steps_offset: 0 } as const;
    const last = unclippedTimesteps(config, sigmas);
    return {
      historyLength: config.solver_order - 1,
      timesteps: (count) =>
        sigmaSteps(
          solverSchedule(`${name}.timesteps`, spacing, sigmas, count, { last }),
          config.final_sigmas_type === 'zero' ? 0 : sigmas[0]!,
        ),
      drawsNoise: () => isStochastic(config),
      coefficients: noCoefficients(name),
      step: (modelOutput, step, sample, { history, noise }) => {
        const grouped = singlestepOrder(config, step.sigmas!.length - 1, step.index);
        const order = Math.min(grouped, callsBefore(step) + 1);
        const earlier = newestCalls(name, step, history, order - 1);
        const calls = [...earlier, { modelOutput, sample }].reverse();
        return solverStep({ config, step, calls, base: order - 1, noise: isStochastic(config) ? noise : undefined });
      },
    };
  },
});

/** The order of a step: 1, 2, … within a group, and lower at the end of a chain. */
function singlestepOrder(config: DPMSolverConfig, count: number, index: number): number {
  const { solver_order: order } = config;
  const inGroup = (index % order) + 1;
  if (index === count - 1 && config.final_sigmas_type === 'zero') return 1;
  const isLowered = config.lower_order_final || config.final_sigmas_type === 'zero';
  if (!isLowered || count % order !== 0 || index < count - order) return inGroup;
  return order === 3 && index === count - 2 ? 2 : 1; // [1, 2, 1] of three, [1, 1] of two
}
