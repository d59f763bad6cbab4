import { type Scalar, type Tensor1D, type Tensor4D } from '@tensorflow/tfjs-core';
import { accumulate, globalNorm, type Gradients } from '../optim/gradients.js';
import { singleProcess, type Collective } from '../collective/collective.js';
import { agree, shared } from '../collective/exchange.js';
import { meanOfGradients } from '../collective/tensors.js';
import type { AlignPropConfig } from '../config/config.js';
import { restoreGenerators, saveGenerators, type Generators } from './generators.js';
import type { AlignPropGradients, GradientFunction } from '../gradient/alignprop-gradients.js';
import type { Logger } from '../logger.js';
import type { StepMetrics } from '../trackers/metrics.js';
import type { MicroBatches } from './micro-batch.js';
import { NonFiniteError } from '../optim/non-finite.js';
import { gatherRounds, statisticsOf, termsOf, type Round } from './statistics.js';
import { disposeTensors } from '@alignprop/autograd-ext';

/** What an image hook sees. Tensors stay the trainer's; clone what is to outlive the call. */
export interface ImageSamples<M> {
  /**
   * The training images of the step's last micro-batch (of this process), made before its update, `[B, H, W, 3]` in [0,
   * 1].
   */
  readonly images: Tensor4D;
  readonly prompts: readonly string[];
  readonly promptMetadata: readonly M[];
  readonly rewards: Tensor1D;
}

/** The gradients of one optimizer step, the mean over all processes. Tensors belong to the caller. */
export interface Collected<M> {
  readonly gradients: Gradients;
  readonly norm: Scalar;
  readonly metrics: Pick<
    StepMetrics,
    'rewardMean' | 'rewardStd' | 'rewardTerms' | 'kl' | 'loss' | 'gradNorm' | 'skipped'
  >;
  /** Of all images of all processes, by name. */
  readonly terms: Readonly<Record<string, Float32Array>>;
  readonly samples: ImageSamples<M>;
}

export interface StepCollectorOptions<M> {
  config: AlignPropConfig;
  batches: MicroBatches<M>;
  gradients: GradientFunction<M>;
  generators: Generators;
  logger: Logger;
  /** By default this process alone. */
  collective?: Collective;
}

/**
 * Collects the gradients of one optimizer step.
 * @throws NonFiniteError; the signal's reason. Nothing stays allocated then and the generators are as before, but for a
 *   NonFiniteError with `on_nonfinite: 'skip'`: what it drew is not to come again
 */
export type StepCollector<M> = (globalStep: number, signal?: AbortSignal) => Promise<Collected<M>>;

/** What this process makes for a step. */
interface Own<M> {
  readonly gradients: Gradients;
  readonly rounds: readonly Round[];
  readonly samples: ImageSamples<M>;
}

/**
 * Makes a function that draws the micro-batches of a step, walks each down and up, and adds up what they give; then
 * takes the mean over the processes. Errors of the kinds above are thrown on all ranks alike, others on the rank they
 * happen on.
 */
export function stepCollector<M>({
  config,
  batches,
  gradients: gradientsOf,
  generators,
  logger,
  collective = singleProcess,
}: StepCollectorOptions<M>): StepCollector<M> {
  const { train_gradient_accumulation_steps: rounds, train_batch_size: batch } = config;

  async function collectOwn(globalStep: number, signal?: AbortSignal): Promise<Own<M>> {
    const told: Round[] = [];
    let gradients: Gradients = {};
    let samples: ImageSamples<M> | undefined;
    try {
      for (let round = 0; round < rounds; round++) {
        signal?.throwIfAborted();
        disposeTensors([samples?.images, samples?.rewards]);
        samples = undefined;
        const before = (globalStep * rounds + round) * collective.size + collective.rank;
        const made = await batches.draw(before * batch, async (inputs) => {
          const { prompts, promptMetadata } = inputs;
          const { params, terms, kl, ...rest } = await gradientsOf({ ...inputs, lossScale: 1 / rounds, signal });
          return { params, terms, kl, samples: { ...keepSamples(rest), prompts, promptMetadata } };
        });
        samples = made.samples;
        gradients = accumulate(gradients, made.params);
        told.push({ rewards: await samples.rewards.data(), kl: made.kl, terms: made.terms });
      }
      return { gradients, rounds: told, samples: samples! };
    } catch (error) {
      disposeTensors([gradients, samples?.images, samples?.rewards]);
      throw error;
    }
  }

  return async (globalStep, signal) => {
    const before = saveGenerators(generators);
    let failure: unknown;
    const own = await collectOwn(globalStep, signal).catch((error: unknown) => void (failure = error));
    let [gradients, norm]: [Gradients | undefined, Scalar | undefined] = [own?.gradients, undefined];
    try {
      await agree(collective, `step ${globalStep}`, failure, signal);
      const { samples, rounds: told } = own!;
      const all = await gatherRounds(collective, told);
      gradients = await meanOfGradients(collective, own!.gradients);
      norm = globalNorm(gradients);
      const gradNorm = (await norm.data())[0]!;
      checkNorm(gradNorm, globalStep, logger);
      return {
        gradients,
        norm,
        terms: termsOf(all),
        samples,
        metrics: { ...statisticsOf(all, config.kl_weight), gradNorm },
      };
    } catch (error) {
      const drawsAgain = error instanceof NonFiniteError && config.on_nonfinite === 'skip';
      if (!drawsAgain) restoreGenerators(generators, before);
      disposeTensors([gradients, norm, own?.samples.images, own?.samples.rewards]);
      if (!(error instanceof NonFiniteError)) throw error;
      throw shared(
        new NonFiniteError(`AlignPropTrainer: at step ${globalStep} ${error.message} No weight was changed.`, {
          cause: error,
        }),
      );
    }
  };
}

function checkNorm(gradNorm: number, globalStep: number, logger: Logger): void {
  if (!Number.isFinite(gradNorm)) throw new NonFiniteError(`the norm of the accumulated gradients is ${gradNorm}.`);
  if (gradNorm === 0)
    logger.warn(
      `The gradient of step ${globalStep} is zero: nothing is learned from it. Is the reward differentiable where these images are?`,
    );
}

/** Keeps what the image hook sees, and frees the rest. */
function keepSamples({
  images,
  rewards,
  trajectory,
  imageGradients,
  latentGradients,
}: Omit<AlignPropGradients, 'params' | 'terms' | 'kl'>): { images: Tensor4D; rewards: Tensor1D } {
  disposeTensors([trajectory.latents, trajectory.modelOutputs, imageGradients, latentGradients]);
  return { images, rewards };
}
