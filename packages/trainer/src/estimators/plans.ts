import type { TorchGenerator } from '@alignprop/autograd-ext';
import type { Cut } from './cuts.js';

/** What the walk up does at one denoising step. */
export interface StepPlan {
  /**
   * Whether the gradient enters the model at this step; where it does not, it only follows the scheduler's own path.
   */
  readonly attached: boolean;
  /**
   * Whether the model's input is cut off, so that an attached step trains the weights but passes nothing back through
   * the model.
   */
  readonly inputDetached: boolean;
}

/** What the reward judges: the chain's end, or the x_0 that the prediction at the last step walked implies. */
export type Shown = 'x_0' | 'predicted-x_0';

/** One draw of a plan: what is done with one chain. */
export interface DrawnPlan {
  /** One entry a step walked, the noisiest first; fewer than the schedule has where the chain ends early. */
  readonly steps: readonly StepPlan[];
  readonly shown: Shown;
  /** How often what is shown is noised again to the level of the last step, denoised by that step and judged too. */
  readonly renoised: number;
}

/** Which steps the gradient enters; step 0 is the noisiest. */
export type Attachment =
  /** Step i where i is not below a cut that is drawn for every step anew. */
  | { readonly by: 'cut-per-step'; readonly cut: Cut }
  /** Step i where i is not below a cut that is drawn once; cuts below `lowest` are drawn again. */
  | { readonly by: 'cut-per-trajectory'; readonly cut: Cut; readonly lowest?: number }
  /** The last `count` steps walked. */
  | { readonly by: 'last'; readonly count: number }
  /** `count` equally spaced steps of those walked, the first at random. */
  | { readonly by: 'spacing'; readonly count: number };

/**
 * How the reward's gradient is estimated, as data: which steps of the chain are attached, whether the model's input is
 * cut off there, and what the reward is shown.
 */
export interface Plan {
  readonly name: string;
  readonly attached: Attachment;
  readonly detachInput?: boolean;
  /**
   * Shows the reward the predicted x_0 of a step drawn from the last so many, where the chain ends; without it, x_0.
   */
  readonly predictedWithin?: number;
  /** See `DrawnPlan`; none by default. */
  readonly renoised?: number;
}

/** A fresh draw at every step, as TRL's `AlignPropTrainer` and the AlignProp paper's code do. */
export const perStep = (cut: Cut): Plan => ({ name: 'per-step', attached: { by: 'cut-per-step', cut } });

/** One draw for the whole chain, as the authors' later code does: the last T - cut steps are attached. */
export const perTrajectory = (name: string, cut: Cut, lowest?: number): Plan => ({
  name,
  attached: { by: 'cut-per-trajectory', cut, lowest },
});

/** DRaFT (arXiv 2309.17400): all steps. */
export const full = (): Plan => ({ name: 'full', attached: { by: 'last', count: Infinity } });

/** DRaFT-K: the last K steps. */
export const lastK = (count: number): Plan => ({ name: 'draft-k', attached: { by: 'last', count } });

/**
 * DRaFT-LV: the last step, of the chain and of n chains of one step that start from x_0 noised again; their mean has
 * less variance.
 */
export const draftLV = (renoised: number): Plan => ({ name: 'draft-lv', attached: { by: 'last', count: 1 }, renoised });

/**
 * ReFL (arXiv 2304.05977, algorithm 1): one step, drawn from the last `within`; the reward judges the x_0 predicted
 * there.
 */
export const refl = (within: number): Plan => ({
  name: 'refl',
  attached: { by: 'last', count: 1 },
  predictedWithin: within,
});

/**
 * DRTune (arXiv 2405.00760): K equally spaced steps train, with the model's input cut off, so that the gradient reaches
 * early steps along the scheduler's path alone; the reward judges the x_0 predicted at one of the last `within` steps.
 */
export const drTune = (count: number, within: number): Plan => ({
  name: 'drtune',
  attached: { by: 'spacing', count },
  detachInput: true,
  predictedWithin: within,
});

/**
 * A draw that would attach nothing has no gradient (TRL crashes on it) and is drawn again.
 * @throws if no draw can attach a step
 */
export function drawPlan(plan: Plan, steps: number, generator: TorchGenerator): DrawnPlan {
  if (emptyProbability(plan, steps) === 1) {
    throw new Error(`drawPlan: the plan '${plan.name}' attaches none of ${steps} steps. Use a cut below ${steps}.`);
  }
  const { detachInput = false, predictedWithin, renoised = 0 } = plan;
  for (;;) {
    const walked = drawLength(plan, steps, generator);
    const attached = drawAttached(plan.attached, walked, generator);
    if (!attached?.includes(true)) continue;
    return {
      steps: attached.map((value) => ({ attached: value, inputDetached: detachInput })),
      shown: predictedWithin === undefined ? 'x_0' : 'predicted-x_0',
      renoised,
    };
  }
}

/** How many steps are walked. Nothing is drawn where there is no choice. */
function drawLength(plan: Plan, steps: number, generator: TorchGenerator): number {
  const lengths = possibleLengths(plan, steps);
  return lengths.length === 1 ? lengths[0]! : lengths[generator.randint(0, lengths.length, 1)[0]!]!;
}

/** One entry a step; undefined for a draw that is refused. */
function drawAttached(
  attachment: Attachment,
  steps: number,
  generator: TorchGenerator,
): readonly boolean[] | undefined {
  const each = (isAttached: (step: number) => boolean) => Array.from({ length: steps }, (_, i) => isAttached(i));
  if (attachment.by === 'cut-per-step') return each((i) => i >= attachment.cut.draw(generator));
  if (attachment.by === 'last') return each((i) => i >= steps - attachment.count);
  if (attachment.by === 'spacing') {
    const { count, stride, offsets } = spacing(attachment.count, steps);
    const first = offsets === 1 ? 0 : generator.randint(0, offsets, 1)[0]!;
    return each((i) => i >= first && (i - first) % stride === 0 && (i - first) / stride < count);
  }
  const first = attachment.cut.draw(generator);
  return first < (attachment.lowest ?? -Infinity) ? undefined : each((i) => i >= first);
}

/** The probability, for each of `steps` steps, that `drawPlan` attaches it. Zeros where no draw can attach a step. */
export function attachProbabilities(plan: Plan, steps: number): readonly number[] {
  const lengths = possibleLengths(plan, steps);
  const accepted = 1 - emptyProbability(plan, steps);
  if (accepted === 0) return Array.from({ length: steps }, () => 0);
  const each = lengths.map((length) => probabilities(plan.attached, length));
  return Array.from(
    { length: steps },
    (_, i) => each.reduce((sum, of) => sum + (of[i] ?? 0), 0) / lengths.length / accepted,
  );
}

/** The probability that one draw attaches nothing, or is refused, so that `drawPlan` draws again. */
export function emptyProbability(plan: Plan, steps: number): number {
  const lengths = possibleLengths(plan, steps);
  return lengths.reduce((sum, length) => sum + emptyAt(plan.attached, length), 0) / lengths.length;
}

/** How many steps may be walked, all equally likely. */
function possibleLengths({ predictedWithin }: Plan, steps: number): readonly number[] {
  return Array.from({ length: Math.min(predictedWithin ?? 1, steps) }, (_, i) => steps - i);
}

/** For each step, the probability that one draw is accepted and attaches it. */
function probabilities(attachment: Attachment, steps: number): readonly number[] {
  const each = (probability: (step: number) => number) => Array.from({ length: steps }, (_, i) => probability(i));
  if (attachment.by === 'last') return each((i) => Number(i >= steps - attachment.count));
  if (attachment.by === 'spacing') {
    const { count, stride, offsets } = spacing(attachment.count, steps);
    const hits = (i: number) =>
      Array.from({ length: count }, (_, k) => i - k * stride).filter((first) => first >= 0 && first < offsets).length;
    return each((i) => hits(i) / offsets);
  }
  const refused = attachment.by === 'cut-per-trajectory' ? attachment.cut.cdf((attachment.lowest ?? -Infinity) - 1) : 0;
  return each((i) => Math.max(0, attachment.cut.cdf(i) - refused));
}

function emptyAt(attachment: Attachment, steps: number): number {
  if (attachment.by === 'last' || attachment.by === 'spacing') return attachment.count >= 1 ? 0 : 1;
  const attaching = probabilities(attachment, steps);
  if (attachment.by === 'cut-per-trajectory') return 1 - attaching.at(-1)!; // what attaches any step attaches the last
  return attaching.reduce((product, probability) => product * (1 - probability), 1);
}

/** Where K equally spaced steps may lie: `first + k · stride`, with `offsets` choices for the first. */
function spacing(wanted: number, steps: number): { count: number; stride: number; offsets: number } {
  const count = Math.min(wanted, steps);
  const stride = Math.floor(steps / count);
  return { count, stride, offsets: steps - (count - 1) * stride };
}
