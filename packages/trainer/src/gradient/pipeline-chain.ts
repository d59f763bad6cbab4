import {
  dispose,
  scalar,
  tensor1d,
  type Scalar,
  type Tensor,
  type Tensor3D,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import type { Compiled, SavedForward, Params, Vjp } from '@alignprop/autograd-ext';
import { guidedEmbeds, type Scheduler, type Step } from '@alignprop/diffusion';
import type { StepPlan } from '../estimators/plans.js';
import type { GuidedUNet } from './guided-unet.js';
import { embedsPath } from './text-encoder-gradient.js';
import type { Chain } from './walk-up.js';

/** The embeddings of one micro-batch, `[B, L, D]` each. */
export interface Conditioning {
  readonly promptEmbeds: Tensor3D;
  /** Needed with guidance. */
  readonly negativePromptEmbeds?: Tensor3D;
}

/** How many attached steps of a walk have saved their activations for backward, and how many are recomputed. */
export interface SavedActivations {
  readonly saved: number;
  readonly recomputed: number;
  /** Memory of one saved step. */
  readonly bytes: number;
}

export interface PipelineChainOptions {
  readonly guidanceScale: number;
  /** DDIM's η. */
  readonly eta: number;
  /** Called at the end of every walk down whose last step is attached. */
  readonly onActivations?: (activations: SavedActivations) => void;
}

/** The denoising chain of a pipeline under the embeddings of one micro-batch. It owns its tensors until `dispose`. */
export class PipelineChain implements Chain {
  readonly scheduler: Scheduler;
  readonly eta: number;
  readonly #unet: GuidedUNet;
  readonly #onActivations: PipelineChainOptions['onActivations'];
  readonly #embeds: Tensor3D; // [2B, L, D] with guidance, the negative prompts first
  readonly #guidanceScale: Scalar;
  readonly #activations = new Map<number, SavedForward>(); // by index of the step in the walk

  /** @throws if negative embeddings are missing with guidance */
  constructor(
    unet: GuidedUNet,
    { promptEmbeds, negativePromptEmbeds }: Conditioning,
    { guidanceScale, eta, onActivations }: PipelineChainOptions,
  ) {
    this.scheduler = unet.pipeline.scheduler;
    this.eta = eta;
    this.#unet = unet;
    this.#onActivations = onActivations;
    this.#embeds = guidedEmbeds(promptEmbeds, negativePromptEmbeds, guidanceScale);
    this.#guidanceScale = scalar(guidanceScale);
  }

  /**
   * Multiplies `dy` [B, h, w, C] with the Jacobian of the prediction at a step: from the activations that the walk down
   * saved for it, which are freed, or else by recomputing the step.
   */
  async predictionVjp(
    latents: Tensor4D,
    step: Step,
    dy: Tensor4D,
    inputGradient: boolean,
    index: number,
  ): Promise<Pick<Vjp, 'params' | 'inputs'>> {
    const activations = this.#activations.get(index);
    if (activations) {
      try {
        return this.#requested(await activations.backward(dy), inputGradient);
      } finally {
        this.#activations.delete(index);
        activations.release();
      }
    }
    const vjp = this.#unet.vjp({ withLatents: inputGradient });
    const timestep = tensor1d([step.t]);
    const inputs = [latents, timestep, this.#embeds, this.#guidanceScale];
    const { params } = this.#unet.pipeline.unet;
    const { value, ...gradients } = await vjp(params, inputs, dy).finally(() => timestep.dispose());
    dispose(value);
    return this.#requested(gradients, inputGradient);
  }

  /** Predicts without the adapter, [B, h, w, C]; for a `GuidedUNet` with a reference. */
  async referencePrediction(latents: Tensor4D, step: Step): Promise<Tensor4D> {
    const { predict, params } = this.#unet.reference!;
    const timestep = tensor1d([step.t]);
    const [prediction] = await predict(params, latents, timestep, this.#embeds, this.#guidanceScale).finally(() =>
      timestep.dispose(),
    );
    return prediction as Tensor4D;
  }

  /**
   * The prediction for one walk down, to be called once per step. At attached steps it saves the activations for
   * backward while the engine has memory for them; it makes no difference which of the attached steps are saved.
   */
  savingPrediction(plan: readonly StepPlan[]): Compiled {
    const earliest = plan.findIndex(({ attached }) => attached);
    const withLatents = plan.some(({ attached, inputDetached }, i) => attached && !inputDetached && i > earliest);
    if (withLatents) this.#unet.vjp({ withLatents });
    let index = 0;
    return (params, ...inputs) => this.#predictAndSave(index++, plan, params, inputs);
  }

  /** Frees the activations that a walk down has saved. */
  freeActivations(): void {
    for (const activations of this.#activations.values()) activations.release();
    this.#activations.clear();
  }

  dispose(): void {
    this.freeActivations();
    dispose([this.#embeds, this.#guidanceScale]);
  }

  async #predictAndSave(
    index: number,
    plan: readonly StepPlan[],
    params: Params,
    inputs: readonly Tensor[],
  ): Promise<readonly Tensor[]> {
    const { attached } = plan[index]!;
    const activations = attached ? await this.#unet.vjp({ withLatents: false }).forward?.(params, inputs) : undefined;
    if (activations) this.#activations.set(index, activations);
    if (attached && index === plan.length - 1) {
      const saved = this.#activations.size;
      const recomputed = plan.filter((step) => step.attached).length - saved;
      this.#onActivations?.({ saved, recomputed, bytes: activations?.bytes ?? 0 });
    }
    return activations ? activations.outputs : this.#unet.predict(params, ...inputs);
  }

  /**
   * Keeps the requested gradients only. That of the embeddings, the last input, is reported with those of the weights,
   * so that it is summed over the steps as they are.
   */
  #requested(
    { params, inputs }: Pick<Vjp, 'params' | 'inputs'>,
    inputGradient: boolean,
  ): Pick<Vjp, 'params' | 'inputs'> {
    const { trainsEmbeds } = this.#unet;
    const embeds: Vjp['params'] = trainsEmbeds ? { [embedsPath]: inputs.at(-1)! } : {};
    const latents = inputs.slice(0, inputs.length - (trainsEmbeds ? 1 : 0));
    if (!inputGradient) dispose(latents);
    return { params: { ...params, ...embeds }, inputs: inputGradient ? latents : [] };
  }
}
