import { clone, type Scalar } from '@tensorflow/tfjs-core';
import { disposeTensors } from '@alignprop/autograd-ext';
import type { Collective } from '../collective/collective.js';
import { agree, shared } from '../collective/exchange.js';
import { meanOfGradients } from '../collective/tensors.js';
import type { DiffusionLossGradients } from '../gradient/diffusion-loss.js';
import type { Penalties } from '../gradient/prediction-penalties.js';
import type { RewardGradient } from '../gradient/reward-judge.js';
import { TensorScope } from '../gradient/tensor-scope.js';
import { accumulate, globalNorm, type Gradients } from '../optim/gradients.js';
import { NonFiniteError } from '../optim/non-finite.js';
import type { ImageSamples } from './image-samples.js';
import type { DrawnPrompts } from './micro-batch.js';
import { gatherRounds, type Round } from './statistics.js';

/** The gradients of one optimizer step. Tensors belong to the `StepTotals`. */
export interface MeanGradients {
  /** The mean over all processes, by parameter path. */
  readonly gradients: Gradients;
  /** The L2 norm of all gradients together, before clipping. */
  readonly norm: Scalar;
  readonly gradNorm: number;
  /** The micro-batches of all processes. */
  readonly rounds: readonly Round[];
}

/** Adds up the micro-batches of one optimizer step. Owns their tensors until `dispose`. */
export class StepTotals<M> {
  readonly #scope = new TensorScope();
  readonly #rounds: Round[] = [];
  #gradients: Gradients = {};
  #norm: Scalar | undefined;
  #samples: ImageSamples<M> | undefined;

  /** The samples of the last micro-batch. */
  get samples(): ImageSamples<M> {
    return this.#samples!;
  }

  /** Starts a micro-batch: frees the samples of the one before. @returns the owner of this one's tensors */
  begin(): TensorScope {
    disposeTensors([this.#samples?.images, this.#samples?.rewards]);
    this.#samples = undefined;
    return this.#scope;
  }

  /** Adds the gradients of a micro-batch, which it takes over, and frees everything else but its samples. */
  async add(
    gradients: Gradients,
    { images, rewards, terms }: RewardGradient & Pick<ImageSamples<M>, 'images'>,
    { prompts, promptMetadata }: DrawnPrompts<M>,
    penalties: Penalties | undefined,
  ): Promise<void> {
    this.#samples = { images: clone(images), rewards: clone(rewards), prompts, promptMetadata };
    this.#gradients = accumulate(this.#gradients, gradients);
    this.#scope.dispose();
    this.#rounds.push({ rewards: await this.#samples.rewards.data(), ...penalties, terms });
  }

  /** Adds the gradients of the data term, which it takes over, to the micro-batch that was added last. */
  addData({ params, loss }: DiffusionLossGradients): void {
    this.#gradients = accumulate(this.#gradients, params);
    this.#rounds.push({ ...this.#rounds.pop()!, dataLoss: loss });
  }

  /**
   * Averages over all processes.
   * @param name names the step in messages between processes
   * @throws on all ranks alike: NonFiniteError, for the norm or from another rank; StoppedElsewhere
   */
  async mean(collective: Collective, name: string, signal?: AbortSignal): Promise<MeanGradients> {
    await agree(collective, name, undefined, signal);
    const rounds = await gatherRounds(collective, this.#rounds);
    this.#gradients = await meanOfGradients(collective, this.#gradients);
    this.#norm = globalNorm(this.#gradients);
    const gradNorm = (await this.#norm.data())[0]!;
    if (!Number.isFinite(gradNorm))
      throw shared(new NonFiniteError(`the norm of the accumulated gradients is ${gradNorm}.`));
    return { gradients: this.#gradients, norm: this.#norm, gradNorm, rounds };
  }

  dispose(): void {
    this.begin();
    this.#scope.dispose();
    disposeTensors([this.#gradients, this.#norm]);
  }
}
