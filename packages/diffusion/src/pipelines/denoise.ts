import { clone, concat, dispose, scalar, tensor1d, tidy, type Tensor3D, type Tensor4D } from '@tensorflow/tfjs-core';
import type { Compiled, Params, TorchGenerator } from '@alignprop/autograd-ext';
import type { ModelCall, Scheduler, Step } from '../schedulers/scheduler.js';
import { drawNoise } from './latents.js';

/** Options of a denoising chain. */
export interface DenoiseOptions {
  /** `[B, L, D]` */
  promptEmbeds: Tensor3D;
  /** `[B, L, D]`; required if `guidanceScale` is above 1. */
  negativePromptEmbeds?: Tensor3D;
  numInferenceSteps: number;
  /** Runs these steps, such as a part of the schedule, instead of the whole schedule. */
  steps?: readonly Step[];
  /** w of u + w (c - u); at 1 and below there is no guidance, as in diffusers. */
  guidanceScale: number;
  /** In [0, 1]; see `guidedPrediction`. */
  guidanceRescale?: number;
  /** η of DDIM and TCD in [0, 1], 0 by default: 0 adds no noise. Other schedulers ignore it. */
  eta?: number;
  /** Draws the noise of the steps that add some, if `noise` is not given. */
  generator?: TorchGenerator;
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
 * @throws if a step adds noise without a source of noise; the signal's reason, between two steps
 */
export async function* denoise(
  predict: Compiled,
  params: Params,
  scheduler: Scheduler,
  latents: Tensor4D,
  { promptEmbeds, negativePromptEmbeds, guidanceScale, eta = 0, signal, ...options }: DenoiseOptions,
): AsyncGenerator<Denoised, void, void> {
  const embeds = guidedEmbeds(promptEmbeds, negativePromptEmbeds, guidanceScale);
  const scale = scalar(guidanceScale);
  const history: ModelCall[] = [];
  let sample = clone(latents);
  const predictAt = async (step: Step) => {
    const inputScale = scheduler.inputScale(step);
    const inputs = [tensor1d([step.t]), ...(inputScale === 1 ? [] : [scalar(inputScale)])] as const;
    const [timestep, ...scaled] = inputs;
    try {
      return (await predict(params, sample, timestep, embeds, scale, ...scaled))[0] as Tensor4D;
    } finally {
      dispose([...inputs]);
    }
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
    dispose([embeds, scale, sample]);
    history.forEach(disposeCall);
  }
}

const disposeCall = ({ modelOutput, sample }: ModelCall): void => dispose([modelOutput, sample]);

/**
 * Stacks the embeddings for the guided UNet: `[2B, L, D]`, negative prompts first, if `guidanceScale` is above 1, else
 * a copy of `promptEmbeds`. The caller disposes the result.
 * @throws if `guidanceScale` is above 1 without `negativePromptEmbeds`
 */
export function guidedEmbeds(
  promptEmbeds: Tensor3D,
  negativePromptEmbeds: Tensor3D | undefined,
  guidanceScale: number,
): Tensor3D {
  if (guidanceScale <= 1) return clone(promptEmbeds);
  if (!negativePromptEmbeds) {
    throw new Error(
      `denoise: guidanceScale got ${guidanceScale} without negativePromptEmbeds. ` +
        "Pass the embeddings of the negative prompt ('' for none).",
    );
  }
  return concat([negativePromptEmbeds, promptEmbeds]);
}

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
