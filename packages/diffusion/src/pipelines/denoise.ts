import { clone, dispose, tidy, type Tensor4D } from '@tensorflow/tfjs-core';
import type { Compiled } from '@alignprop/autograd-ext';
import type { UNet2DConditionModel } from '../models/unet-2d-condition.js';
import type { ModelCall, Scheduler, Step } from '../schedulers/scheduler.js';
import { ChainInputs, predictionInputs, type ChainGuidance, type Conditioning } from './conditioning.js';
import { drawNoise, type NoiseGenerator } from './latents.js';

/** Options of a denoising chain. */
export interface DenoiseOptions extends Conditioning, ChainGuidance {
  /** Runs these steps, such as a part of the schedule, instead of the whole schedule. */
  steps?: readonly Step[];
  /** In [0, 1]; see `guidedPrediction`. */
  guidanceRescale?: number;
  /** η of DDIM and TCD in [0, 1], 0 by default: 0 adds no noise. Other schedulers ignore it. */
  eta?: number;
  /** Draws the noise of the steps that add some, if `noise` is not given. */
  generator?: NoiseGenerator;
  /** Replaces the pipeline's guided prediction: a function of the same arguments, called once per model call. */
  predict?: Compiled;
  /** Returns the noise z of a step, `[B, h, w, C]`; the chain disposes it. */
  noise?: (step: Step) => Tensor4D;
  /** Stops the chain between two steps. */
  signal?: AbortSignal;
}

/** The result of one step. The consumer disposes both tensors. */
export interface Denoised {
  readonly step: Step;
  /** x_{t-1}: the latents after this step, `[B, h, w, C]`. */
  readonly latents: Tensor4D;
  /** The guided prediction of this step, `[B, h, w, C]`. */
  readonly modelOutput: Tensor4D;
}

/**
 * Runs the denoising chain from x_T to x_0 and yields the result of every step. The caller keeps `latents`. The
 * chain frees its tensors when it ends, when the consumer stops early, and when the signal aborts.
 * @throws if a step adds noise without a source of noise, or the conditioning lacks something that the UNet needs; the
 *   signal's reason, between two steps
 */
export async function* denoise(
  predict: Compiled,
  unet: UNet2DConditionModel,
  scheduler: Scheduler,
  latents: Tensor4D,
  { eta = 0, signal, ...options }: DenoiseOptions,
): AsyncGenerator<Denoised, void, void> {
  const conditioning = new ChainInputs(unet.config, scheduler, options);
  const history: ModelCall[] = [];
  let sample = clone(latents);
  const predictAt = async (step: Step) => {
    const { inputs, created } = predictionInputs(conditioning.at(step), scheduler, step);
    const [prediction] = await predict(unet.params, sample, ...inputs).finally(() => dispose(created));
    return prediction as Tensor4D;
  };
  const stepTo = (step: Step, modelOutput: Tensor4D): Tensor4D => {
    let noise: Tensor4D | undefined;
    try {
      noise = scheduler.drawsNoise(step, eta) ? stepNoise(step, eta, sample.shape, options) : undefined;
      return tidy(() => scheduler.step(modelOutput, step, sample, { eta, noise, history }).prevSample);
    } catch (error) {
      modelOutput.dispose();
      throw error;
    } finally {
      noise?.dispose();
    }
  };
  try {
    for (const step of options.steps ?? scheduler.timesteps(options.numInferenceSteps)) {
      signal?.throwIfAborted();
      const modelOutput = await predictAt(step);
      const next = stepTo(step, modelOutput);
      if (scheduler.historyLength > 0) history.push({ modelOutput: clone(modelOutput), sample: clone(sample) });
      while (history.length > scheduler.historyLength) disposeCall(history.shift()!);
      sample.dispose();
      sample = clone(next);
      yield { step, latents: next, modelOutput };
    }
  } finally {
    conditioning.dispose();
    sample.dispose();
    history.forEach(disposeCall);
  }
}

const disposeCall = ({ modelOutput, sample }: ModelCall): void => dispose([modelOutput, sample]);

function stepNoise(
  step: Step,
  eta: number,
  shape: Tensor4D['shape'],
  { noise, generator }: Pick<DenoiseOptions, 'noise' | 'generator'>,
): Tensor4D {
  if (noise) return noise(step);
  if (generator) return drawNoise(shape, generator);
  throw new Error(
    `denoise: step ${step.index} (eta ${eta}) adds noise, and got no source of it. Pass a generator, or noise.`,
  );
}
