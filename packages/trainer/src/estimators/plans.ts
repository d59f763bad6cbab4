import type { TorchGenerator } from '@alignprop/autograd-ext';
import type { Attachment } from './attachments.js';

/** The part of a plan for one denoising step: whether the gradient enters it, and how. */
export interface StepPlan {
  /** Whether the gradient enters the model; where it does not, it follows the scheduler's own path only. */
  readonly attached: boolean;
  /**
   * Whether the model's input is detached: an attached step then trains the weights but passes no gradient through the
   * model to earlier steps.
   */
  readonly inputDetached: boolean;
}

/**
 * The latents that the reward judges: the chain's end, or the x_0 that the prediction at the last step walked implies.
 */
export type Shown = 'x_0' | 'predicted-x_0';

/** One draw of a plan: what is done with one chain. */
export interface DrawnPlan {
  /** One entry per step walked, the noisiest first; fewer than the schedule has where the chain ends early. */
  readonly steps: readonly StepPlan[];
  readonly shown: Shown;
  /** How many copies of the chain's end are noised to the level of the last step, denoised by that step, and judged. */
  readonly renoised: number;
}

/**
 * How the gradient of the reward is estimated: which steps of the chain are attached, whether the model's input is
 * detached there, and what the reward judges.
 */
export interface Plan {
  readonly name: string;
  /** Draws the attached steps. */
  readonly attached: Attachment;
  /** See `StepPlan.inputDetached`; false by default. */
  readonly detachInput?: boolean;
  /**
   * Ends the chain at a step drawn from the last `predictedWithin`, and shows the reward the x_0 predicted there;
   * without it the reward judges x_0.
   */
  readonly predictedWithin?: number;
  /** See `DrawnPlan.renoised`; 0 by default. */
  readonly renoised?: number;
}

/**
 * Draws a plan for one chain. A draw that would attach nothing has no gradient (TRL crashes on it) and is drawn again.
 * @param steps the steps of the schedule, T
 * @throws if no draw can attach a step
 */
export function drawPlan(plan: Plan, steps: number, generator: TorchGenerator): DrawnPlan {
  if (emptyProbability(plan, steps) === 1) {
    throw new Error(`drawPlan: the plan '${plan.name}' attaches none of ${steps} steps. Use a cut below ${steps}.`);
  }
  const { detachInput = false, predictedWithin, renoised = 0 } = plan;
  for (;;) {
    const length = drawLength(plan, steps, generator);
    const attached = plan.attached.draw(length, generator);
    if (!attached?.includes(true)) continue;
    return {
      steps: attached.map((value) => ({ attached: value, inputDetached: detachInput })),
      shown: predictedWithin === undefined ? 'x_0' : 'predicted-x_0',
      renoised,
    };
  }
}

/** The probability, for each of `steps` steps, that `drawPlan` attaches it. Zeros if no draw can attach a step. */
export function attachProbabilities(plan: Plan, steps: number): readonly number[] {
  const lengths = possibleLengths(plan, steps);
  const accepted = 1 - emptyProbability(plan, steps);
  if (accepted === 0) return Array.from({ length: steps }, () => 0);
  const byLength = lengths.map((length) => plan.attached.probabilities(length));
  return Array.from(
    { length: steps },
    (_, i) => byLength.reduce((sum, probabilities) => sum + (probabilities[i] ?? 0), 0) / lengths.length / accepted,
  );
}

/** The probability that one draw attaches nothing or is refused, so that `drawPlan` draws again. */
export function emptyProbability(plan: Plan, steps: number): number {
  const lengths = possibleLengths(plan, steps);
  return lengths.reduce((sum, length) => sum + plan.attached.emptyProbability(length), 0) / lengths.length;
}

/** How many steps are walked. Nothing is drawn from the generator where there is no choice. */
function drawLength(plan: Plan, steps: number, generator: TorchGenerator): number {
  const lengths = possibleLengths(plan, steps);
  return lengths.length === 1 ? lengths[0]! : lengths[generator.randint(0, lengths.length, 1)[0]!]!;
}

/** The numbers of steps that may be walked, all equally likely. */
function possibleLengths({ predictedWithin }: Plan, steps: number): readonly number[] {
  return Array.from({ length: Math.min(predictedWithin ?? 1, steps) }, (_, i) => steps - i);
}
