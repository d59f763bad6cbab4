import { dispose, type Scalar, type Tensor1D, type Tensor4D } from '@tensorflow/tfjs-core';
import { accumulate } from './backprop.js';
import type { AlignPropConfig } from './config.js';
import { restoreGenerators, saveGenerators, type Generators } from './generators.js';
import type { AlignPropGradients, GradientFunction } from './gradients.js';
import type { Logger } from './logger.js';
import { meanAndStd, type StepMetrics } from './metrics.js';
import type { MicroBatches } from './micro-batch.js';
import { NonFiniteError } from './non-finite.js';
import { globalNorm, type Gradients } from './optim/clip-by-global-norm.js';

/** What an image hook sees. Tensors stay the trainer's; clone what is to outlive the call. */
export interface ImageSamples<M> {
  /** The training images of the step's last micro-batch, made before its update, `[B, H, W, 3]` in [0, 1]. */
  readonly images: Tensor4D;
  readonly prompts: readonly string[];
  readonly promptMetadata: readonly M[];
  readonly rewards: Tensor1D;
}

/** The gradients of one optimizer step. Tensors belong to the caller. */
export interface Collected<M> {
  readonly gradients: Gradients;
  readonly norm: Scalar;
  readonly metrics: Pick<StepMetrics, 'rewardMean' | 'rewardStd' | 'rewardTerms' | 'kl' | 'loss' | 'gradNorm' | 'skipped'>;
  /** Of all images, by name. */
  readonly terms: Readonly<Record<string, Float32Array>>;
  readonly samples: ImageSamples<M>;
}

export interface StepCollectorOptions<M> {
  config: AlignPropConfig;
  batches: MicroBatches<M>;
  gradients: GradientFunction<M>;
  generators: Generators;
  logger: Logger;
}

/**
 * Collects the gradients of one optimizer step.
 * @throws NonFiniteError; the signal's reason. Nothing stays allocated then and the generators are as before, but for a NonFiniteError with
 *   `on_nonfinite: 'skip'`: what it drew is not to come again
 */
export type StepCollector<M> = (globalStep: number, signal?: AbortSignal) => Promise<Collected<M>>;

/** Makes a function that draws the micro-batches of a step, walks each down and up, and adds up what they give. */
export function stepCollector<M>({ config, batches, gradients: gradientsOf, generators, logger }: StepCollectorOptions<M>): StepCollector<M> {
  const { train_gradient_accumulation_steps: rounds, train_batch_size: batch } = config;
  return async (globalStep, signal) => {
    const before = saveGenerators(generators);
    const kls: number[] = [];
    const statistics: { mean: number; std: number }[] = [];
    const termsOf: Readonly<Record<string, Float32Array>>[] = [];
    let gradients: Gradients = {};
    let samples: ImageSamples<M> | undefined;
    let norm: Scalar | undefined;
    try {
      for (let round = 0; round < rounds; round++) {
        dispose([samples?.images, samples?.rewards] as never);
        samples = undefined;
        const made = await batches.draw((globalStep * rounds + round) * batch, async (inputs) => {
          const { prompts, promptMetadata } = inputs;
          const { params, terms, kl, ...rest } = await gradientsOf({ ...inputs, lossScale: 1 / rounds, signal });
          if (kl !== undefined) kls.push(kl);
          return { params, terms, samples: { ...keepSamples(rest), prompts, promptMetadata } };
        });
        samples = made.samples;
        gradients = accumulate(gradients, made.params);
        termsOf.push(made.terms);
        statistics.push(meanAndStd(await samples.rewards.data()));
      }
      norm = globalNorm(gradients);
      const gradNorm = (await norm.data())[0]!;
      checkNorm(gradNorm, globalStep, logger);
      const rewardMean = meanAndStd(statistics.map(({ mean }) => mean)).mean;
      const rewardStd = meanAndStd(statistics.map(({ std }) => std)).mean;
      const terms = joinTerms(termsOf);
      const rewardTerms = Object.fromEntries(Object.entries(terms).map(([name, values]) => [name, meanAndStd(values).mean]));
      return { gradients, norm, terms, samples: samples!, metrics: { rewardMean, rewardStd, rewardTerms, ...withPenalty(rewardMean, kls, config.kl_weight), gradNorm } };
    } catch (error) {
      const drawsAgain = error instanceof NonFiniteError && config.on_nonfinite === 'skip';
      if (!drawsAgain) restoreGenerators(generators, before);
      dispose([gradients, norm, samples?.images, samples?.rewards] as never);
      if (!(error instanceof NonFiniteError)) throw error;
      throw new NonFiniteError(`AlignPropTrainer: at step ${globalStep} ${error.message} No weight was changed.`, { cause: error });
    }
  };
}

function checkNorm(gradNorm: number, globalStep: number, logger: Logger): void {
  if (!Number.isFinite(gradNorm)) throw new NonFiniteError(`the norm of the accumulated gradients is ${gradNorm}.`);
  if (gradNorm === 0) logger.warn(`The gradient of step ${globalStep} is zero: nothing is learned from it. Is the reward differentiable where these images are?`);
}

/** Keeps what the image hook sees, and frees the rest. */
function keepSamples({ images, rewards, trajectory, imageGradients, latentGradients }: Omit<AlignPropGradients, 'params' | 'terms' | 'kl'>): { images: Tensor4D; rewards: Tensor1D } {
  dispose([trajectory.latents, trajectory.modelOutputs, imageGradients, latentGradients] as never);
  return { images, rewards };
}

/** The micro-batches' values, one after the other. */
function joinTerms(batches: readonly Readonly<Record<string, Float32Array>>[]): Record<string, Float32Array> {
  const names = Object.keys(batches[0] ?? {});
  return Object.fromEntries(names.map((name) => [name, Float32Array.from(batches.flatMap((terms) => [...terms[name]!]))]));
}

/** The loss, and the `kl` of the micro-batches where it is part of it. */
function withPenalty(rewardMean: number, kls: readonly number[], weight: number): Pick<StepMetrics, 'kl' | 'loss'> {
  if (kls.length === 0) return { loss: -rewardMean };
  const kl = meanAndStd(kls).mean;
  return { kl, loss: weight * kl - rewardMean };
}
