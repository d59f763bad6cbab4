import type { TorchGenerator } from '@alignprop/autograd-ext';
import { lateBiased } from './draws.js';
import type { Estimator } from './estimator.js';
import { chainPlan, type DrawnPlan, type Plan, type PlannedChain } from './plans.js';
import { shareFactor, straightPath } from './straight-path.js';

export interface SparseOptions {
  /** K, how many steps train. */
  readonly count: number;
  /** The power of the weights (i + 1)^bias with which steps are drawn; 0 draws all alike. */
  readonly lateBias: number;
  /** γ in [0, 1]: how far the weights make up for the steps that do not train. */
  readonly rescale: number;
}

/**
 * FlowBP-Sparse (arXiv 2606.11075): trains K steps, drawn without replacement and later ones more often, with the
 * input detached and with the weight 1 + γ(Σ|h| / Σ_K|h| - 1).
 */
export class FlowBPSparse implements Plan {
  readonly name = 'flowbp-sparse';

  constructor(readonly options: SparseOptions) {}

  draw(chain: PlannedChain, generator: TorchGenerator): DrawnPlan {
    const { count, lateBias, rescale } = this.options;
    const active = lateBiased([0, chain.steps], count, lateBias, generator);
    return sparsePlan(chain, active, rescale);
  }
}

/** The plan of given steps. */
export function sparsePlan(chain: PlannedChain, active: readonly number[], rescale: number): DrawnPlan {
  const weight = rescaledWeight(chain, active, rescale);
  return chainPlan(chain, new Map(active.map((i) => [i, { weight, coupling: 0 }])));
}

/** 1 + γ(Σ|h| / Σ_active|h| - 1). */
export const rescaledWeight = (chain: PlannedChain, active: readonly number[], rescale: number): number =>
  rescale === 0 ? 1 : 1 + rescale * (shareFactor(straightPath(chain), active) - 1);

/** K = 4, late bias 1 and γ = 0.5 by default, as in FlowBP's configurations. */
export const sparseEstimator: Estimator = {
  parameters: ['estimator_steps', 'estimator_late_bias', 'estimator_rescale'],
  plan: (options) =>
    new FlowBPSparse({
      count: options.estimator_steps ?? Math.min(4, options.sample_num_steps),
      lateBias: options.estimator_late_bias ?? 1,
      rescale: options.estimator_rescale ?? 0.5,
    }),
};
