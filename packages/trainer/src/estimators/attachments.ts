import type { TorchGenerator } from '@alignprop/autograd-ext';
import type { Cut } from './cuts.js';

/** A random choice of the denoising steps that are attached. Step 0 is the noisiest of those walked. */
export interface Attachment {
  /** Draws one entry per step, true where the step is attached; undefined for a draw that is to be drawn again. */
  draw(steps: number, generator: TorchGenerator): readonly boolean[] | undefined;
  /** For each step, the probability that one draw is accepted and attaches it. */
  probabilities(steps: number): readonly number[];
  /** The probability that one draw attaches nothing, or is to be drawn again. */
  emptyProbability(steps: number): number;
}

/** Attaches step i where i is not below a cut that is drawn for every step anew. */
export class CutPerStep implements Attachment {
  constructor(readonly cut: Cut) {}

  draw(steps: number, generator: TorchGenerator): readonly boolean[] {
    return forEachStep(steps, (i) => i >= this.cut.draw(generator));
  }

  probabilities(steps: number): readonly number[] {
    return forEachStep(steps, (i) => Math.max(0, this.cut.cdf(i)));
  }

  emptyProbability(steps: number): number {
    return this.probabilities(steps).reduce((product, probability) => product * (1 - probability), 1);
  }
}

/** Attaches step i where i is not below a cut that is drawn once; cuts below `lowest` are drawn again. */
export class CutPerTrajectory implements Attachment {
  constructor(
    readonly cut: Cut,
    readonly lowest = -Infinity,
  ) {}

  draw(steps: number, generator: TorchGenerator): readonly boolean[] | undefined {
    const cut = this.cut.draw(generator);
    return cut < this.lowest ? undefined : forEachStep(steps, (i) => i >= cut);
  }

  probabilities(steps: number): readonly number[] {
    const refused = this.cut.cdf(this.lowest - 1);
    return forEachStep(steps, (i) => Math.max(0, this.cut.cdf(i) - refused));
  }

  emptyProbability(steps: number): number {
    return 1 - this.probabilities(steps).at(-1)!; // a draw that attaches any step attaches the last
  }
}

/** Attaches the last `count` steps. */
export class LastSteps implements Attachment {
  constructor(readonly count: number) {}

  draw(steps: number): readonly boolean[] {
    return forEachStep(steps, (i) => i >= steps - this.count);
  }

  probabilities(steps: number): readonly number[] {
    return this.draw(steps).map(Number);
  }

  emptyProbability(): number {
    return this.count >= 1 ? 0 : 1;
  }
}

/** Attaches `count` equally spaced steps, the first of them drawn at random. */
export class EquallySpacedSteps implements Attachment {
  constructor(readonly count: number) {}

  draw(steps: number, generator: TorchGenerator): readonly boolean[] {
    const { count, stride, offsets } = this.#spacing(steps);
    const first = offsets === 1 ? 0 : generator.randint(0, offsets, 1)[0]!;
    return forEachStep(steps, (i) => i >= first && (i - first) % stride === 0 && (i - first) / stride < count);
  }

  probabilities(steps: number): readonly number[] {
    const { count, stride, offsets } = this.#spacing(steps);
    const offsetsThatAttach = (i: number) =>
      Array.from({ length: count }, (_, k) => i - k * stride).filter((first) => first >= 0 && first < offsets).length;
    return forEachStep(steps, (i) => offsetsThatAttach(i) / offsets);
  }

  emptyProbability(): number {
    return this.count >= 1 ? 0 : 1;
  }

  /** The attached steps are `first + k · stride` for k < count; `first` is one of `offsets` choices. */
  #spacing(steps: number): { count: number; stride: number; offsets: number } {
    const count = Math.min(this.count, steps);
    const stride = Math.floor(steps / count);
    return { count, stride, offsets: steps - (count - 1) * stride };
  }
}

const forEachStep = <T>(steps: number, value: (step: number) => T): readonly T[] =>
  Array.from({ length: steps }, (_, i) => value(i));
