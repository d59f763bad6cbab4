import { table } from '@alignprop/autograd-ext/outside';
import { ones, tidy, zeros, type Tensor4D } from '@tensorflow/tfjs-core';
import { noisedTo, type Scheduler, type Step } from '@alignprop/diffusion';

/** The latents after a step, as parts of an image and of noise: signal · x_0 + noise · ε, `[1, 1, 1, 1]` each. */
export interface Levels {
  readonly signal: Tensor4D;
  readonly noise: Tensor4D;
}

/**
 * The levels after a deterministic step whose prediction is exact, from the scheduler's own step of an image without
 * noise and of noise without an image. The tensors belong to the caller.
 */
export const levelsAfter = (scheduler: Scheduler, step: Step): Levels =>
  tidy(() => {
    const [one, nothing]: Tensor4D[] = [ones([1, 1, 1, 1]), zeros([1, 1, 1, 1])];
    return { signal: exactStep(scheduler, step, one!, nothing!), noise: exactStep(scheduler, step, nothing!, one!) };
  });

/** Takes a step from an image noised to its level, with the output that a perfect model would give. */
function exactStep(scheduler: Scheduler, step: Step, original: Tensor4D, noise: Tensor4D): Tensor4D {
  const outputs = table<() => Tensor4D>({
    epsilon: () => noise,
    sample: () => original,
    v_prediction: () => scheduler.getVelocity(original, noise, [step.t]),
  });
  const output = outputs[String(scheduler.config.prediction_type)]!();
  return scheduler.step(output, step, noisedTo(scheduler, step, original, noise), {
    eta: 0,
    noise: zeros([1, 1, 1, 1]),
  }).prevSample;
}
