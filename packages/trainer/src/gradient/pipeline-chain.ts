import { concat, dispose, mul, tidy, zeros, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import type { Compiled, SavedForward, Params, Vjp } from '@alignprop/autograd-ext';
import { predictionInputs, type Conditioning, type Scheduler, type Step } from '@alignprop/diffusion';
import { isEntered, trains, type StepPlan } from '../estimators/plans.js';
import { FeatureReuse } from './feature-reuse.js';
import { GuidedGradient, type GuidanceGradientOptions } from './guided-gradient.js';
import type { GuidedUNet } from './guided-unet.js';
import type { Chain } from './walk-up.js';

/** Counts how many steps that the gradient enters have saved their activations for it, and how many are recomputed. */
export interface SavedActivations {
  readonly saved: number;
  readonly recomputed: number;
  /** Memory of one saved step. */
  readonly bytes: number;
}

export interface PipelineChainOptions extends GuidanceGradientOptions {
  /** DDIM's η. */
  readonly eta: number;
  /** Called at the end of every walk down. */
  readonly onActivations?: (activations: SavedActivations) => void;
}

/** The denoising chain of a pipeline under the embeddings of one micro-batch. It owns its tensors until `dispose`. */
export class PipelineChain implements Chain {
  readonly scheduler: Scheduler;
  readonly eta: number;
  readonly #unet: GuidedUNet;
  readonly #onActivations: PipelineChainOptions['onActivations'];
  readonly #guidance: GuidedGradient;
  readonly #features: FeatureReuse;
  readonly #activations = new Map<number, SavedForward>(); // by index of the step in the walk

  /** @throws if something is missing in the conditioning that the UNet needs */
  constructor(unet: GuidedUNet, conditioning: Conditioning, options: PipelineChainOptions) {
    this.scheduler = unet.pipeline.scheduler;
    this.eta = options.eta;
    this.#unet = unet;
    this.#onActivations = options.onActivations;
    this.#guidance = new GuidedGradient(unet, conditioning, options);
    this.#features = new FeatureReuse(unet);
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
    const scaled: Tensor4D = mul(dy, this.#guidance.factor(step));
    const activations = this.#activations.get(index);
    try {
      const gradients = activations
        ? await activations.backward(scaled)
        : await this.#recomputed(latents, step, scaled, inputGradient);
      return this.#requested(gradients, inputGradient);
    } finally {
      scaled.dispose();
      this.#activations.delete(index);
      activations?.release();
    }
  }

  /** Predicts without the adapter, [B, h, w, C]; for a `GuidedUNet` with a reference. */
  async referencePrediction(latents: Tensor4D, step: Step): Promise<Tensor4D> {
    const { predict, params } = this.#unet.reference!;
    const { inputs, created } = predictionInputs(this.#guidance.predicted(step), this.scheduler, step);
    const [prediction] = await predict(params, latents, ...inputs).finally(() => dispose(created));
    return prediction as Tensor4D;
  }

  /**
   * The prediction for one walk down, to be called once per step. Where the gradient enters, it saves the activations
   * for it while the engine has memory for them; it makes no difference which of these steps are saved.
   */
  savingPrediction(plan: readonly StepPlan[]): Compiled {
    const earliest = plan.findIndex(trains);
    const withLatents = plan.some(({ coupling }, i) => coupling !== 0 && i > earliest);
    if (withLatents) this.#unet.vjp({ withLatents });
    const entered = plan.map((step, i) => i >= earliest && isEntered(step));
    let index = 0;
    return (params, ...inputs) => this.#predictAndSave(index++, entered, params, inputs);
  }

  /** Frees the activations that a walk down has saved. */
  freeActivations(): void {
    for (const activations of this.#activations.values()) activations.release();
    this.#activations.clear();
  }

  dispose(): void {
    this.freeActivations();
    this.#features.forget();
    this.#guidance.dispose();
  }

  /** Runs the step again for its gradient. */
  async #recomputed(
    latents: Tensor4D,
    step: Step,
    dy: Tensor4D,
    inputGradient: boolean,
  ): Promise<Pick<Vjp, 'params' | 'inputs'>> {
    const vjp = this.#unet.vjp({ withLatents: inputGradient });
    const { inputs, created } = predictionInputs(this.#guidance.differentiated(step), this.scheduler, step);
    const { params } = this.#unet.pipeline.unet;
    const { value, ...gradients } = await vjp(params, [latents, ...inputs], dy).finally(() => dispose(created));
    dispose(value);
    return gradients;
  }

  async #predictAndSave(
    index: number,
    entered: readonly boolean[],
    params: Params,
    inputs: readonly Tensor[],
  ): Promise<readonly Tensor[]> {
    const isEntered = entered[index]!;
    const activations = isEntered ? await this.#guidance.forward(params, inputs) : undefined;
    if (activations) this.#activations.set(index, activations);
    if (isEntered) this.#features.forget();
    if (index === entered.length - 1) {
      const saved = [...this.#activations.values()];
      const recomputed = entered.filter(Boolean).length - saved.length;
      this.#onActivations?.({ saved: saved.length, recomputed, bytes: saved[0]?.bytes ?? 0 });
    }
    if (activations) return activations.outputs;
    return isEntered ? this.#unet.predict(params, ...inputs) : this.#features.predict(index, params, inputs);
  }

  /**
   * Keeps the requested gradients only. Those of the embeddings, the last inputs, are reported with those of the
   * weights, so that they are summed over the steps as they are.
   */
  #requested(
    { params, inputs }: Pick<Vjp, 'params' | 'inputs'>,
    inputGradient: boolean,
  ): Pick<Vjp, 'params' | 'inputs'> {
    const { encodedPaths } = this.#unet;
    const first = inputs.length - encodedPaths.length;
    const encoded = Object.fromEntries(
      encodedPaths.map((path, i) => [path, withRows(inputs[first + i]!, this.#guidance.rows)]),
    );
    const latents = inputs.slice(0, first);
    if (!inputGradient) dispose(latents);
    return { params: { ...params, ...encoded }, inputs: inputGradient ? latents : [] };
  }
}

/** Adds the rows of the unconditional branch, zeros, where only the others have a gradient; takes it over. */
function withRows(gradient: Tensor, rows: number): Tensor {
  const [own, ...rest] = gradient.shape as [number, ...number[]];
  if (own === rows) return gradient;
  const padded = tidy(() => concat([zeros([rows - own, ...rest]), gradient]));
  gradient.dispose();
  return padded;
}
