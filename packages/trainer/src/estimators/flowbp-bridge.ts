import type { TorchGenerator } from '@alignprop/autograd-ext';
import { roundHalfEven } from '@alignprop/diffusion';
import { lateBiased, uniformPair } from './draws.js';
import { needsSteps, type Estimator } from './estimator.js';
import { rescaledWeight, type SparseOptions } from './flowbp-sparse.js';
import { chainPlan, type DrawnPlan, type Plan, type PlannedChain } from './plans.js';

export interface BridgeOptions extends SparseOptions {
  /** α: the share of the gradient that passes through the model's input at the anchor. */
  readonly coupling: number;
}

/** A draw of the bridge: the anchor, and the steps that train before it and from it on. */
export interface BridgeDraw {
  readonly anchor: number;
  readonly active: readonly number[];
}

/**
 * FlowBP-Bridge (arXiv 2606.11075): splits the chain at an anchor, the later of two steps drawn at random, trains K
 * steps on both sides in proportion to their lengths, the anchor always, and couples the sides through the model's
 * input at the anchor.
 */
export class FlowBPBridge implements Plan {
  readonly name = 'flowbp-bridge';

  constructor(readonly options: BridgeOptions) {}

  draw(chain: PlannedChain, generator: TorchGenerator): DrawnPlan {
    const { count, lateBias } = this.options;
    const [, anchor] = uniformPair(chain.steps, generator);
    const [before, after] = sideCounts(Math.min(count, chain.steps), anchor, chain.steps - anchor);
    const active = [
      ...lateBiased([0, anchor], before, lateBias, generator),
      anchor,
      ...lateBiased([anchor + 1, chain.steps], after - 1, lateBias, generator),
    ];
    return bridgePlan(chain, { anchor, active }, this.options);
  }
}

/** The plan of a draw. */
export function bridgePlan(
  chain: PlannedChain,
  { anchor, active }: BridgeDraw,
  { coupling, rescale }: Pick<BridgeOptions, 'coupling' | 'rescale'>,
): DrawnPlan {
  const weight = rescaledWeight(chain, active, rescale);
  const factors = (i: number) => ({ weight, coupling: i === anchor ? coupling * weight : 0 });
  return chainPlan(chain, new Map(active.map((i) => [i, factors(i)])));
}

/** Shares `count` steps among two sides in proportion to their lengths, at least one to each. */
function sideCounts(count: number, before: number, after: number): readonly [before: number, after: number] {
  const share = roundHalfEven((count * before) / (before + after));
  const first = Math.min(Math.max(share, 1, count - after), before, count - 1);
  return [first, count - first];
}

/** K = 5, late bias 4, γ = 0 and α = 0.5 by default, as in FlowBP's configurations. */
export const bridgeEstimator: Estimator = {
  parameters: ['estimator_steps', 'estimator_late_bias', 'estimator_rescale', 'estimator_coupling'],
  plan: (options) =>
    new FlowBPBridge({
      count: options.estimator_steps ?? Math.min(5, options.sample_num_steps),
      lateBias: options.estimator_late_bias ?? 4,
      rescale: options.estimator_rescale ?? 0,
      coupling: options.estimator_coupling ?? 0.5,
    }),
  problems: (options) => [
    ...needsSteps('flowbp-bridge', 2, options),
    ...(options.estimator_steps === 1
      ? [{ key: 'estimator_steps' as const, message: 'got 1, expected 2 or more: one on each side of the anchor.' }]
      : []),
  ],
};
