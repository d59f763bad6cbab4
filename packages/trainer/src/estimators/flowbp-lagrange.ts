import type { TorchGenerator } from '@alignprop/autograd-ext';
import { dirichletPair } from './draws.js';
import { needsSteps, type Estimator } from './estimator.js';
import { leapPlan, type LeapOptions } from './leaps.js';
import type { DrawnPlan, Plan, PlannedChain } from './plans.js';

export interface LagrangeOptions extends LeapOptions {
  /** At most as many steps are left from j on. */
  readonly last: number;
}

/** The parts of the chain from j on, between k and j, and before k, as a Dirichlet variable has them on average. */
const concentration = [2.5, 6, 2] as const;

/**
 * FlowBP-Lagrange (arXiv 2606.11075): two leaps k → j → end by quadrature over the predictions of the chain, of which
 * the first two of each leap train. Meant for deterministic chains (η = 0).
 */
export class FlowBPLagrange implements Plan {
  readonly name = 'flowbp-lagrange';

  constructor(readonly options: LagrangeOptions) {}

  draw(chain: PlannedChain, generator: TorchGenerator): DrawnPlan {
    const pair = dirichletPair(chain.steps, concentration, this.options.last, generator);
    return leapPlan(chain, pair, this.options);
  }
}

/** Order 3, α = 0.1, τ = 0.2, and j within the last 40 % of the steps by default: FlowBP's last 10 of 25. */
export const lagrangeEstimator: Estimator = {
  parameters: ['estimator_order', 'estimator_coupling', 'estimator_floor', 'estimator_last'],
  plan: (options) =>
    new FlowBPLagrange({
      order: options.estimator_order ?? 3,
      coupling: options.estimator_coupling ?? 0.1,
      otherWeight: 0.25,
      floor: options.estimator_floor ?? 0.2,
      last: options.estimator_last ?? Math.max(2, Math.round(0.4 * options.sample_num_steps)),
    }),
  problems: (options) => [
    ...needsSteps('flowbp-lagrange', 3, options),
    ...(options.estimator_last === 1
      ? [{ key: 'estimator_last' as const, message: 'got 1, expected 2 or more: j is never the last step.' }]
      : []),
  ],
};
