import type { TorchGenerator } from '@alignprop/autograd-ext';
import type { Attachment } from './attachments.js';
import { detachedStep, type DrawnPlan, type Plan, type PlannedChain } from './plans.js';

/** The parts of a plan whose factors are 0 and 1. */
export interface AttachmentPlanOptions {
  readonly name: string;
  /** Draws the attached steps. */
  readonly attached: Attachment;
  /** Whether attached steps pass no gradient through the model to their input; false by default. */
  readonly detachInput?: boolean;
  /**
   * Attaches only steps before one drawn from the last `within`; without it all steps may be attached.
   */
  readonly within?: number;
  /** Whether the chain ends at the step drawn, and the reward judges the x_0 predicted there; false by default. */
  readonly showPredicted?: boolean;
  /** See `DrawnPlan.renoised`; 0 by default. */
  readonly renoised?: number;
}

/** A plan that attaches steps drawn at random, or always the same. */
export class AttachmentPlan implements Plan {
  readonly name: string;

  constructor(readonly options: AttachmentPlanOptions) {
    this.name = options.name;
  }

  draw({ steps }: PlannedChain, generator: TorchGenerator): DrawnPlan | undefined {
    const { detachInput = false, showPredicted = false, renoised = 0 } = this.options;
    const length = this.#drawLength(steps, generator);
    const attached = this.options.attached.draw(length, generator);
    if (!attached) return undefined;
    const attachedStep = { weight: 1, coupling: detachInput ? 0 : 1 };
    return {
      steps: Array.from({ length: showPredicted ? length : steps }, (_, i) =>
        attached[i] ? attachedStep : detachedStep,
      ),
      shown: showPredicted ? 'predicted-x_0' : 'x_0',
      renoised,
    };
  }

  probabilities(steps: number): readonly number[] {
    const lengths = this.#possibleLengths(steps);
    const byLength = lengths.map((length) => this.options.attached.probabilities(length));
    return Array.from(
      { length: steps },
      (_, i) => byLength.reduce((sum, probabilities) => sum + (probabilities[i] ?? 0), 0) / lengths.length,
    );
  }

  emptyProbability(steps: number): number {
    const lengths = this.#possibleLengths(steps);
    return lengths.reduce((sum, length) => sum + this.options.attached.emptyProbability(length), 0) / lengths.length;
  }

  /** Draws how many steps may be attached. Nothing is drawn from the generator where there is no choice. */
  #drawLength(steps: number, generator: TorchGenerator): number {
    const lengths = this.#possibleLengths(steps);
    return lengths.length === 1 ? lengths[0]! : lengths[generator.randint(0, lengths.length, 1)[0]!]!;
  }

  /** The numbers of steps that may be drawn, all equally likely. */
  #possibleLengths(steps: number): readonly number[] {
    return Array.from({ length: Math.min(this.options.within ?? 1, steps) }, (_, i) => steps - i);
  }
}
