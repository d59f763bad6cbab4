import { callsBefore } from './scheduler-class.js';
import type { Step } from './scheduler.js';

/** The options that choose the order of a multistep solver. */
export type OrderConfig = {
  solver_order: number;
  /** Whether the last steps of a chain of fewer than 15 have lower orders. */
  lower_order_final: boolean;
};

/**
 * Returns the order of a step of DPM-Solver or DEIS: at most the number of calls so far, and less at the end of a
 * short chain.
 * @param endsInFirstOrder whether the last step is of order 1 in any case
 */
export function multistepOrder(config: OrderConfig, step: Step, endsInFirstOrder: boolean): number {
  const { index, sigmas } = step;
  const remaining = sigmas!.length - 1 - index;
  const isShort = config.lower_order_final && sigmas!.length - 1 < 15;
  if (remaining === 1 && (isShort || endsInFirstOrder)) return 1;
  return Math.min(config.solver_order, callsBefore(step) + 1, isShort ? remaining : Infinity);
}
