import type { TorchGenerator } from '@alignprop/autograd-ext';
import { uniformPair } from './draws.js';
import { needsSteps, type Estimator } from './estimator.js';
import { leapPlan, type LeapOptions } from './leaps.js';
import type { DrawnPlan, Plan, PlannedChain } from './plans.js';

/**
 * LeapAlign (arXiv 2604.15311): two straight leaps k → j → end between steps drawn at random, both of which train.
 * Meant for deterministic chains (η = 0).
 */
export class LeapAlign implements Plan {
  readonly name = 'leapalign';

  constructor(readonly options: Pick<LeapOptions, 'coupling' | 'floor'>) {}

  draw(chain: PlannedChain, generator: TorchGenerator): DrawnPlan {
    return leapPlan(chain, uniformPair(chain.steps, generator), { ...this.options, order: 1, otherWeight: 0 });
  }
}

/** α = 0.3 and τ = 0.1 by default, as in the paper. */
export const leapAlignEstimator: Estimator = {
  parameters: ['estimator_coupling', 'estimator_floor'],
  plan: ({ estimator_coupling: coupling, estimator_floor: floor }) =>
    new LeapAlign({ coupling: coupling ?? 0.3, floor: floor ?? 0.1 }),
  problems: (options) => needsSteps('leapalign', 2, options),
};
