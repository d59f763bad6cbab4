import { clone, concat, dispose, scalar, tensor1d, tidy, type Tensor3D, type Tensor4D } from '@tensorflow/tfjs-core';
import type { Compiled, Params, TorchGenerator } from '@alignprop/autograd-ext';
import type { Scheduler, Step } from '../schedulers/scheduler.js';
import { drawNoise } from './latents.js';

/** What a walk down the denoising chain needs besides x_T. */
export interface DenoiseOptions {
  /** `[B, L, D]` */
  promptEmbeds: Tensor3D;
  /** `[B, L, D]`; needed where `guidanceScale` is above 1. */
  negativePromptEmbeds?: Tensor3D;
  numInferenceSteps: number;
  /** Walks these steps, such as a part of the schedule, instead of all of it. */
  steps?: readonly Step[];
  /** w of u + w (c - u); at 1 and below there is no guidance, as in diffusers. */
  guidanceScale: number;
  /** In [0, 1]; see `guidedPrediction`. */
  guidanceRescale?: number;
  /** DDIM's η: 0 deterministic, 1 as noisy as DDPM. */
  eta?: number;
  /** Draws the noise of each step where `eta` is above 0, unless `noise` gives it. */
  generator?: TorchGenerator;
  /**
   * Takes the place of the pipeline's own (guided) prediction: a function of the same arguments, called once a step.
   */
  predict?: Compiled;
  /** The noise z of a step, `[B, h, w, C]`; the chain disposes it. */
  noise?: (step: Step) => Tensor4D;
  signal?: AbortSignal;
}

/** One step taken. Both tensors belong to the consumer. */
export interface Denoised {
  readonly step: Step;
  /** x_{t-1}: the latents after this step, `[B, h, w, C]`. */
  readonly latents: Tensor4D;
  /** The guided prediction at this step, `[B, h, w, C]`. */
  readonly modelOutput: Tensor4D;
}

/**
 * Walks from x_T to x_0, yielding every step. `latents` stays the caller's; what is yielded is the consumer's.
 * Nothing is kept when the consumer stops early or the signal aborts.
 * @throws the signal's reason, between steps
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
  const history: { modelOutput: Tensor4D; sample: Tensor4D }[] = [];
  let sample = clone(latents);
  const predictAt = async ({ t }: Step) => {
    const timestep = tensor1d([t]);
    try {
      return (await predict(params, sample, timestep, embeds, scale))[0] as Tensor4D;
    } finally {
      timestep.dispose();
    }
  };
  try {
    for (const step of options.steps ?? scheduler.timesteps(options.numInferenceSteps)) {
      signal?.throwIfAborted();
      const modelOutput = await predictAt(step);
      const noise = stepNoise(step, eta, sample.shape, options);
      const next = tidy(() => scheduler.step(modelOutput, step, sample, { eta, noise, history }).prevSample);
      noise?.dispose();
      if (scheduler.historyLength > 0) history.push({ modelOutput: clone(modelOutput), sample: clone(sample) });
      while (history.length > scheduler.historyLength) dispose(history.shift()!);
      sample.dispose();
      sample = clone(next);
      yield { step, latents: next, modelOutput };
    }
  } finally {
    dispose([embeds, scale, sample, history]);
  }
}

/** `[2B, L, D]`, unconditional half first, where guidance applies; a tensor of its own either way. */
export function guidedEmbeds(
  promptEmbeds: Tensor3D,
  negativePromptEmbeds: Tensor3D | undefined,
  guidanceScale: number,
): Tensor3D {
  if (guidanceScale <= 1) return clone(promptEmbeds);
  if (!negativePromptEmbeds) {
    throw new Error(
      `denoise: guidanceScale got ${guidanceScale} without negativePromptEmbeds. Pass the embeddings of the negative prompt ('' for none).`,
    );
  }
  return concat([negativePromptEmbeds, promptEmbeds]);
}

function stepNoise(
  step: Step,
  eta: number,
  shape: [number, number, number, number],
  { noise, generator }: Pick<DenoiseOptions, 'noise' | 'generator'>,
): Tensor4D | undefined {
  if (eta === 0) return undefined;
  if (noise) return noise(step);
  if (generator) return drawNoise(shape, generator);
  throw new Error(`denoise: eta got ${eta} without a source of noise. Pass a generator (or noise), or eta 0.`);
}
