import type { Compiled, CompiledVjp, Params } from '@alignprop/autograd-ext';
import {
  guidedPrediction,
  predictionWithFeatures,
  shallowPrediction,
  type StableDiffusionPipeline,
} from '@alignprop/diffusion';
import { removeLora } from '@alignprop/lora';
import { encodedInputs, trainsTextEncoder } from './text-encoder-gradient.js';

export interface GuidedUNetOptions {
  reference?: boolean;
  /** N: of the predictions that need no gradient every Nth is whole; 1, the default, is all of them. */
  reuseFeatures?: number;
  /** The index of the up block whose output is reused; the one before the last by default, which saves most. */
  reuseFeaturesBlock?: number | null;
}

/**
 * The guided noise prediction of a pipeline's UNet and its gradients, compiled once and shared by all micro-batches.
 * All of them are functions of
 *
 *   latents [B, h, w, C], timestep [1], embeddings [2B, L, D] ([B, L, D] without guidance), guidance scale [],
 *   and what else `predictionInputs` lists
 *
 * and predict [B, h, w, C].
 */
export class GuidedUNet {
  readonly predict: Compiled;
  /** The prediction without the adapter, for the KL penalty. */
  readonly reference: { readonly predict: Compiled; readonly params: Params } | undefined;
  /** The predictions that give deep features and that take them. */
  readonly reuse: { readonly interval: number; readonly whole: Compiled; readonly shallow: Compiled } | undefined;
  /** The paths of the gradients of what trained text encoders gave: of the last inputs that a VJP has. */
  readonly encodedPaths: readonly string[];
  readonly #latentsVjp: CompiledVjp;
  #vjp: CompiledVjp;

  /**
   * @param options.reference compiles the prediction without the adapter as well; the UNet must have an adapter
   * @throws if features are reused from a block that the UNet does not have
   */
  constructor(
    readonly pipeline: StableDiffusionPipeline,
    { reference = false, reuseFeatures = 1, reuseFeaturesBlock }: GuidedUNetOptions = {},
  ) {
    const { engine, unet } = pipeline;
    const predict = guidedPrediction(unet.config);
    const encoded = trainsTextEncoder(pipeline) ? encodedInputs(pipeline) : [];
    this.encodedPaths = encoded.map(({ path }) => path);
    const wrt = encoded.map(({ index }) => index);
    this.predict = engine.compile(predict);
    this.reference = reference ? { predict: engine.compile(predict), params: removeLora(unet.params) } : undefined;
    this.reuse = reuseFeatures > 1 ? this.#reusing(reuseFeatures, reuseFeaturesBlock) : undefined;
    this.#latentsVjp = engine.compileVjp(predict, { wrt: [0, ...wrt] });
    this.#vjp = engine.compileVjp(predict, { wrt });
  }

  /**
   * The vector-Jacobian product of the prediction with respect to the weights, and to the embeddings if a text
   * encoder is trained. The gradient of the latents is included if `withLatents` asks for it, and in all later calls:
   * every compiled VJP maps the weights into memory once more, so a run uses a single one as far as possible.
   */
  vjp({ withLatents }: { withLatents: boolean }): CompiledVjp {
    if (withLatents) this.#vjp = this.#latentsVjp;
    return this.#vjp;
  }

  #reusing(interval: number, block: number | null | undefined): NonNullable<GuidedUNet['reuse']> {
    const { engine, unet } = this.pipeline;
    const last = unet.config.up_block_types.length - 2;
    const index = block ?? last;
    if (index < 0 || index > last) {
      throw new Error(
        `AlignPropTrainer: reuse_features_block got ${index}, expected an index from 0 to ${last}, that of an up ` +
          'block of this UNet but the last.',
      );
    }
    return {
      interval,
      whole: engine.compile(predictionWithFeatures(unet.config, index)),
      shallow: engine.compile(shallowPrediction(unet.config, index)),
    };
  }
}
