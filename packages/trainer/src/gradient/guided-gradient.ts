import { add, mul, sub, tidy, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import type { Params, SavedForward } from '@alignprop/autograd-ext';
import {
  ChainInputs,
  disposeInputs,
  guidedInputs,
  usesGuidance,
  type ChainGuidance,
  type Conditioning,
  type GuidedInputs,
  type Step,
} from '@alignprop/diffusion';
import type { AlignPropConfig } from '../config/config.js';
import type { GuidedUNet } from './guided-unet.js';

/** The way of the gradient through classifier-free guidance, ε = u + w (c - u). */
export interface GuidanceGradientOptions extends ChainGuidance {
  /**
   * `both` branches, or the `conditional` one alone: u is a constant then, which takes half of the UNet's gradient.
   * The two branches nearly cancel, so this gradient is another one, and larger. `both` by default.
   */
  readonly cfgGradient?: AlignPropConfig['cfg_gradient'];
  /**
   * Divides the gradient of the conditional branch by w: that of the `loss`, or what passes each `step`, to the weights
   * and to the input; `none` by default.
   */
  readonly cfgGradientCompensation?: AlignPropConfig['cfg_gradient_compensation'];
}

/** The branches of guidance that have a gradient, under the conditioning of one micro-batch. It owns its tensors. */
export class GuidedGradient {
  readonly #chain: ChainInputs;
  readonly #branches: { readonly conditional: GuidedInputs; readonly unconditional: GuidedInputs } | undefined;
  readonly #factor: number;

  /** @throws if something is missing in the conditioning that the UNet needs */
  constructor(
    readonly unet: GuidedUNet,
    conditioning: Conditioning,
    options: GuidanceGradientOptions,
  ) {
    const { scheduler, unet: model } = unet.pipeline;
    const { guidanceScale, cfgGradient = 'both', cfgGradientCompensation = 'none' } = options;
    this.#chain = new ChainInputs(model.config, scheduler, { ...conditioning, ...options });
    this.#factor = cfgGradientCompensation === 'step' ? 1 : guidanceScale;
    if (cfgGradient === 'both' || !usesGuidance(model.config, guidanceScale)) return;
    const negative = {
      promptEmbeds: conditioning.negativePromptEmbeds!,
      pooledPromptEmbeds: conditioning.negativePooledPromptEmbeds,
      timeIds: conditioning.negativeTimeIds ?? conditioning.timeIds,
    };
    this.#branches = {
      conditional: guidedInputs(model.config, conditioning, 1),
      unconditional: guidedInputs(model.config, negative, 1),
    };
  }

  /** The conditioning of the prediction at a step. */
  predicted(step: Step): GuidedInputs {
    return this.#chain.at(step);
  }

  /** The conditioning of what is differentiated at a step. */
  differentiated(step: Step): GuidedInputs {
    return this.#branches?.conditional ?? this.#chain.at(step);
  }

  /** The derivative of the guided prediction with respect to what is differentiated at a step. */
  factor(step: Step): number {
    return this.#branches && this.#chain.isGuided(step) ? this.#factor : 1;
  }

  /** The rows that are differentiated at a guided step: one per image, or two. */
  get rows(): number {
    return (this.#branches?.conditional ?? this.#chain.guided).embeds.shape[0];
  }

  /**
   * Predicts `[B, h, w, C]` and saves the activations for the gradient, if the engine has memory for them.
   * @param inputs those of the guided prediction
   */
  async forward(params: Params, inputs: readonly Tensor[]): Promise<SavedForward | undefined> {
    const vjp = this.unet.vjp({ withLatents: false });
    const [latents, , embeds, scale] = inputs;
    const isGuided = embeds!.shape[0] !== latents!.shape[0];
    if (!this.#branches || !isGuided) return vjp.forward?.(params, inputs);
    const { conditional, unconditional } = this.#branches;
    const saved = await vjp.forward?.(params, withConditioning(inputs, conditional));
    if (!saved) return undefined;
    const c = saved.outputs[0] as Tensor4D;
    try {
      const [u] = await this.unet.predict(params, ...withConditioning(inputs, unconditional));
      const guided = tidy(() => add(u!, mul(sub(c, u!), scale!)));
      u!.dispose();
      return { ...saved, backward: (dy) => saved.backward(dy), release: () => saved.release(), outputs: [guided] };
    } catch (error) {
      saved.release();
      throw error;
    } finally {
      c.dispose();
    }
  }

  dispose(): void {
    this.#chain.dispose();
    if (this.#branches) for (const inputs of Object.values(this.#branches)) disposeInputs(inputs);
  }
}

/** The arguments of a guided prediction with another conditioning; see `predictionInputs`. */
function withConditioning(
  [latents, timestep, , , ...rest]: readonly Tensor[],
  { embeds, guidanceScale, added }: GuidedInputs,
): readonly Tensor[] {
  const scaled = rest.slice(0, rest.length - added.length);
  return [latents!, timestep!, embeds, guidanceScale, ...scaled, ...added];
}
