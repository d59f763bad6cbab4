import { add, dispose, mul, tidy, type Tensor } from '@tensorflow/tfjs-core';
import type { Compiled, Params } from '@alignprop/autograd-ext';

/** Denoising that begins with one UNet's weights and ends with another's. */
export interface Annealing {
  /** Weights of the UNet to begin with, such as those without an adapter. */
  from: Params;
  /**
   * w, the share of the pipeline's own prediction, from how far the chain is: 0 at the first step, 1 at the last. By
   * default w is the same: linear. Where it is 0 or 1 the other UNet is not run.
   */
  share?: (progress: number) => number;
}

/**
 * A prediction that goes from one UNet's to another's in the course of a chain, ε = (1 - w)·ε_from + w·ε_tuned, as
 * annealed importance guidance (arXiv 2409.06493): the layout, which the first steps decide, keeps the variety of the
 * model before it was tuned, and the last steps what the tuning was for. Each of both is under classifier-free
 * guidance.
 * @param own runs the pipeline's weights, `other` those of `from`; both take the arguments of `guidedPrediction`
 * @param total calls: one a step of the schedule
 */
export function annealedPrediction(
  own: Compiled,
  other: Compiled,
  { from, share = (progress) => progress }: Annealing,
  total: number,
): Compiled {
  let done = 0;
  return async (params, ...inputs) => {
    const weight = share(total > 1 ? done / (total - 1) : 1);
    done++;
    if (!Number.isFinite(weight))
      throw new Error(`annealedPrediction: share got ${weight} at call ${done} of ${total}, expected a finite number.`);
    if (weight === 1) return own(params, ...inputs);
    if (weight === 0) return other(from, ...inputs);
    const start = await other(from, ...inputs);
    const end = await own(params, ...inputs);
    const mixed: Tensor = tidy(() => add(mul(start[0]!, 1 - weight), mul(end[0]!, weight)));
    dispose([...start, ...end]);
    return [mixed];
  };
}
