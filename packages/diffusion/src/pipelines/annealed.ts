import { add, dispose, mul, tidy, type Tensor } from '@tensorflow/tfjs-core';
import type { Compiled, Params } from '@alignprop/autograd-ext';

/** Interpolates from the predictions of one set of UNet weights to those of the pipeline in the course of a chain. */
export interface Annealing {
  /** The UNet weights of the first steps, such as the weights without an adapter. */
  from: Params;
  /**
   * Maps the progress of the chain, 0 at the first step and 1 at the last, to the weight w of the pipeline's own
   * prediction; linear by default. A UNet whose weight is 0 is not run.
   */
  share?: (progress: number) => number;
}

/**
 * Mixes two predictions, ε = (1 - w) · ε_from + w · ε_tuned, with w rising in the course of the chain: annealed
 * importance guidance (arXiv 2409.06493). The first steps decide the layout and keep the variety of the model before
 * tuning; the last steps have the effect of the tuning. Both predictions are under classifier-free guidance.
 * @param tuned runs the pipeline's weights; takes the arguments of `guidedPrediction`, as `base` does
 * @param base runs the weights `from`
 * @param total number of calls: one for each step of the schedule
 */
export function annealedPrediction(
  tuned: Compiled,
  base: Compiled,
  { from, share = (progress) => progress }: Annealing,
  total: number,
): Compiled {
  let calls = 0;
  return async (params, ...inputs) => {
    const weight = share(total > 1 ? calls / (total - 1) : 1);
    calls++;
    if (!Number.isFinite(weight))
      throw new Error(
        `annealedPrediction: share got ${weight} at call ${calls} of ${total}, expected a finite number. ` +
          'Return a number from 0 to 1 for every progress from 0 to 1.',
      );
    if (weight === 1) return tuned(params, ...inputs);
    if (weight === 0) return base(from, ...inputs);
    const baseOutput = await base(from, ...inputs);
    const tunedOutput = await tuned(params, ...inputs);
    const mixed: Tensor = tidy(() => add(mul(baseOutput[0]!, 1 - weight), mul(tunedOutput[0]!, weight)));
    dispose([...baseOutput, ...tunedOutput]);
    return [mixed];
  };
}
