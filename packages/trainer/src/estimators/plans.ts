import { random, type TorchGenerator } from '@alignprop/autograd-ext';
import type { StepCoefficients } from '@alignprop/diffusion';

/**
 * The part of a plan for one denoising step: two factors of the gradient that enters the model there. Both may be any
 * finite numbers; where both are 0, the gradient follows the scheduler's own path only, and the model is not called.
 */
export interface StepPlan {
  /** Multiplies the gradient of the weights: 0 detaches the step, 1 attaches it. */
  readonly weight: number;
  /** Multiplies the gradient that passes through the model to its input: 0 detaches the input, 1 attaches it. */
  readonly coupling: number;
}

/** A step that the gradient does not enter. */
export const detachedStep: StepPlan = { weight: 0, coupling: 0 };

/** A step as an autograd tape has it. */
export const attachedStep: StepPlan = { weight: 1, coupling: 1 };

/** Whether the weights get a gradient at a step. */
export const trains = ({ weight }: StepPlan): boolean => weight !== 0;

/** Whether the gradient enters the model at a step. */
export const isEntered = ({ weight, coupling }: StepPlan): boolean => weight !== 0 || coupling !== 0;

/**
 * The latents that the reward judges: the chain's end, the x_0 that the prediction at the last step walked implies, or
 * the x_0 that known noise recovers after a step (`DrawnPlan.realigned`).
 */
export type Shown = 'x_0' | 'predicted-x_0' | 'recovered-x_0';

/**
 * A jump over several steps, which predicts the latents at its end from those at its start and from predictions on the
 * way: ŷ_end = y_start + Σ weight_m · ε_m, in the coordinates of `increments`.
 */
export interface Leap {
  /** Index of the latents at the start, of `Trajectory.latents`. */
  readonly start: number;
  readonly end: number;
  /** The weights of the predictions, by the index of their step. */
  readonly weights: readonly (readonly [step: number, weight: number])[];
}

/** One draw of a plan: what is done with one chain. */
export interface DrawnPlan {
  /** One entry per step walked, the noisiest first; fewer than the schedule has where the chain ends early. */
  readonly steps: readonly StepPlan[];
  readonly shown: Shown;
  /** How many copies of the chain's end are noised to the level of the last step, denoised by that step, and judged. */
  readonly renoised: number;
  /**
   * The index of the step that is taken once more, from the chain's end noised to its level. The gradient enters there
   * alone, and the reward judges the x_0 that the noise recovers.
   */
  readonly realigned?: number;
  /** With `realigned`: the latents are those of given images, which are noised in place of a chain's end. */
  readonly isGiven?: boolean;
  /**
   * Divides each image's part of the loss by Σ max(floor, d) over the leaps, where d is the mean absolute difference
   * between the latents that a leap predicts and those of the chain; without it all images count alike.
   */
  readonly distances?: { readonly leaps: readonly Leap[]; readonly floor: number };
}

/** The chain that a plan is drawn for. */
export interface PlannedChain {
  /** The steps of the schedule, T. */
  readonly steps: number;
  /**
   * Returns the steps of the scheduler as linear maps, the noisiest first.
   * @throws where a step is not linear: where x_0 is clipped, for example
   */
  coefficients(): readonly StepCoefficients[];
}

/**
 * A way to estimate the gradient of the reward: which steps the gradient enters and with which factors, and what the
 * reward judges.
 */
export interface Plan {
  readonly name: string;
  /** Draws what is done with one chain; undefined for a draw that is to be drawn again. */
  draw(chain: PlannedChain, generator: TorchGenerator): DrawnPlan | undefined;
  /**
   * The probability, for each of `steps` steps, that one draw is accepted and trains it. Without it,
   * `attachProbabilities` counts draws.
   */
  probabilities?(steps: number): readonly number[];
  /** The probability that one draw trains nothing, or is to be drawn again; 0 by default. */
  emptyProbability?(steps: number): number;
}

/** A plan of the whole chain with factors at some steps. */
export const chainPlan = ({ steps }: PlannedChain, entered: ReadonlyMap<number, StepPlan>): DrawnPlan => ({
  steps: Array.from({ length: steps }, (_, i) => entered.get(i) ?? detachedStep),
  shown: 'x_0',
  renoised: 0,
});

/**
 * Draws a plan for one chain. A draw that would train nothing has no gradient (TRL crashes on it) and is drawn again.
 * @throws if no draw can train a step
 */
export function drawPlan(plan: Plan, chain: PlannedChain, generator: TorchGenerator): DrawnPlan {
  if (emptyProbability(plan, chain.steps) === 1) {
    throw new Error(
      `drawPlan: the plan '${plan.name}' attaches none of ${chain.steps} steps. Use a cut below ${chain.steps}.`,
    );
  }
  for (;;) {
    const drawn = plan.draw(chain, generator);
    if (drawn?.steps.some(trains)) return drawn;
  }
}

/** The probability, for each step of a chain, that `drawPlan` trains it. Zeros if no draw can train a step. */
export function attachProbabilities(plan: Plan, chain: PlannedChain): readonly number[] {
  const accepted = 1 - emptyProbability(plan, chain.steps);
  if (accepted === 0) return Array.from({ length: chain.steps }, () => 0);
  const probabilities = plan.probabilities?.(chain.steps);
  return probabilities?.map((probability) => probability / accepted) ?? countedProbabilities(plan, chain);
}

/** The probability that one draw trains nothing or is refused, so that `drawPlan` draws again. */
export const emptyProbability = (plan: Plan, steps: number): number => plan.emptyProbability?.(steps) ?? 0;

const countedDraws = 4096;

/** The share of draws that train each step, from a generator of their own. */
function countedProbabilities(plan: Plan, chain: PlannedChain): readonly number[] {
  const counts = new Array<number>(chain.steps).fill(0);
  const generator = random(0);
  for (let draw = 0; draw < countedDraws; draw++)
    drawPlan(plan, chain, generator).steps.forEach((step, i) => (counts[i]! += Number(trains(step))));
  return counts.map((count) => count / countedDraws);
}
