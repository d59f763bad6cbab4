import type { Scheduler, StepCoefficients } from '@alignprop/diffusion';
import type { PlannedChain } from './plans.js';

/** Describes the chain of a scheduler to plans. */
export function plannedChain(
  scheduler: Scheduler,
  { numInferenceSteps: steps, eta }: { numInferenceSteps: number; eta: number },
): PlannedChain {
  let coefficients: readonly StepCoefficients[] | undefined;
  return {
    steps,
    coefficients: () => (coefficients ??= scheduler.timesteps(steps).map((step) => scheduler.coefficients(step, eta))),
  };
}
