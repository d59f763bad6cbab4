import type { TorchGenerator } from '@alignprop/autograd-ext';
import type { Cut } from './cuts.js';

/** What the walk up does at one denoising step. */
export interface StepPlan {
  /** Whether the gradient enters the model at this step; where it does not, it only follows the scheduler's own path. */
  readonly attached: boolean;
  /** Whether the model's input is cut off, so that an attached step trains the weights but passes nothing back through the model. */
  readonly inputDetached: boolean;
}

/**
 * Which steps of a denoising chain the reward's gradient enters, as data: step i (0 is the noisiest) is attached where i is not
 * below a random cut, drawn for every step anew or once a trajectory.
 */
export interface Plan {
  readonly name: string;
  readonly cut: Cut;
  readonly drawn: 'per-step' | 'per-trajectory';
  /** The lowest cut accepted for a trajectory; lower ones are drawn again. */
  readonly lowest?: number;
  /** Cuts the model's input off at attached steps, as DRTune does (arXiv 2405.00760, §3.2). */
  readonly detachInput?: boolean;
}

/** A fresh draw at every step, as TRL's `AlignPropTrainer` and the AlignProp paper's code do; both bounds can be drawn. */
export const perStep = (cut: Cut): Plan => ({ name: 'per-step', cut, drawn: 'per-step' });

/** One draw for the whole chain: the last T - cut steps are attached. */
export const perTrajectory = (name: string, cut: Cut, lowest?: number): Plan => ({ name, cut, drawn: 'per-trajectory', lowest });

/**
 * One entry a step. A draw that would attach nothing has no gradient (TRL crashes on it) and is drawn again.
 * @throws if no draw can attach a step
 */
export function drawPlan(plan: Plan, steps: number, generator: TorchGenerator): readonly StepPlan[] {
  if (emptyProbability(plan, steps) === 1) {
    throw new Error(`drawPlan: the plan '${plan.name}' attaches none of ${steps} steps. Use a cut below ${steps}.`);
  }
  const draw = plan.drawn === 'per-step' ? drawEachStep : drawOnce;
  for (;;) {
    const attached = draw(plan, steps, generator);
    if (attached?.includes(true)) return attached.map((value) => ({ attached: value, inputDetached: plan.detachInput ?? false }));
  }
}

const drawEachStep = ({ cut }: Plan, steps: number, generator: TorchGenerator): boolean[] =>
  Array.from({ length: steps }, (_, i) => i >= cut.draw(generator));

function drawOnce({ cut, lowest = -Infinity }: Plan, steps: number, generator: TorchGenerator): boolean[] | undefined {
  const first = cut.draw(generator);
  return first < lowest ? undefined : Array.from({ length: steps }, (_, i) => i >= first);
}

/** The probability, for each of `steps` steps, that `drawPlan` attaches it. Zeros where no draw can attach a step. */
export function attachProbabilities(plan: Plan, steps: number): readonly number[] {
  const accepted = 1 - emptyProbability(plan, steps);
  if (accepted === 0) return Array.from({ length: steps }, () => 0);
  const { cut, lowest = -Infinity } = plan;
  const refused = plan.drawn === 'per-step' ? 0 : cut.cdf(lowest - 1);
  return Array.from({ length: steps }, (_, i) => Math.max(0, cut.cdf(i) - refused) / accepted);
}

/** The probability that one draw attaches nothing, or is refused, so that `drawPlan` draws again. */
export function emptyProbability({ cut, drawn, lowest = -Infinity }: Plan, steps: number): number {
  if (drawn === 'per-trajectory') return 1 - Math.max(0, cut.cdf(steps - 1) - cut.cdf(lowest - 1));
  return Array.from({ length: steps }, (_, i) => 1 - cut.cdf(i)).reduce((product, missed) => product * missed, 1);
}
