import { clone, dispose, type Tensor1D, type Tensor4D } from '@tensorflow/tfjs-core';
import { disposeTensors } from '@alignprop/autograd-ext';
import { usesGuidance, type Decoder, type StableDiffusionPipeline } from '@alignprop/diffusion';
import type { RewardFunction } from '@alignprop/rewards';
import type { AlignPropConfig } from '../config/config.js';
import { plannedChain } from '../estimators/planned-chain.js';
import { attachedStep, detachedStep, type PlannedChain, type StepPlan } from '../estimators/plans.js';
import { straightPath } from '../estimators/straight-path.js';
import { accumulate, type Gradients } from '../optim/gradients.js';
import { DifferentiableDecoder, type DecodedImages, type LatentWindow } from './differentiable-decoder.js';
import { checkGradients, checkLatents, checkRewards } from './finite-checks.js';
import type { GuidanceGradientOptions } from './guided-gradient.js';
import { GuidedUNet } from './guided-unet.js';
import { harderImages } from './harder-images.js';
import { leapWeights } from './leap-weights.js';
import { PipelineChain, type SavedActivations } from './pipeline-chain.js';
import type { Penalties, PenaltyWeights } from './prediction-penalties.js';
import { RewardJudge, type JudgeInputs, type RewardGradient } from './reward-judge.js';
import { checked, TensorScope } from './tensor-scope.js';
import { TextEncoderGradient } from './text-encoder-gradient.js';
import {
  samplingOptions,
  walkDown,
  walkDownRealigned,
  walkDownRenoised,
  type SamplingOptions,
  type WalkInputs,
} from './walk-down.js';
import { walkUp, type ChainGradients, type Trajectory } from './walk-up.js';

/** Everything that one micro-batch depends on besides the weights: the same inputs give the same gradients. */
export interface GradientInputs<M> extends WalkInputs, JudgeInputs<M> {
  /** The texts of `negativePromptEmbeds`; needed where a text encoder is trained, unless these are constants. */
  readonly negativePrompts?: readonly string[];
  /** The part of the images that the reward judges; the whole by default. */
  readonly window?: LatentWindow;
  /** Multiplies the loss: 1 / micro-batches for gradient accumulation. 1 by default. */
  readonly lossScale?: number;
}

/** The gradients of one micro-batch and what they were computed from. Tensors belong to the caller. */
export interface AlignPropGradients {
  /** dL/dθ by parameter path, where L = -lossScale · mean(reward), weighted where the plan has distances. */
  readonly params: Gradients;
  /** The rewards of `images`, `[B]`. Rewards of chains that the plan re-noises enter the gradient only. */
  readonly rewards: Tensor1D;
  /** The named terms of the rewards, one value per image. */
  readonly terms: Readonly<Record<string, Float32Array>>;
  /** The end of the chain as the reward judged it, `[B, H, W, 3]` in [0, 1]. */
  readonly images: Tensor4D;
  readonly trajectory: Trajectory;
  /** dL/dimages, `[B, H, W, 3]`. */
  readonly imageGradients: Tensor4D;
  /** `ChainGradients.penalties` of the chain that ends with `images`. */
  readonly penalties?: Penalties;
  /** `ChainGradients.latents` of that chain. */
  readonly latentGradients: ChainGradients['latents'];
}

export interface AlignPropGradientOptions extends SamplingOptions, GuidanceGradientOptions {
  /** Adds the penalties of `walkUp`, times these weights and lossScale, to the loss; the UNet must have an adapter. */
  penaltyWeights?: Partial<PenaltyWeights>;
  /** ρ: takes the reward's gradient at images moved so far to a lower reward; see `harderImages`. 0 by default. */
  rewardPerturbation?: number;
  /** The `clipSkip` that the prompts are encoded with, for the gradients of text encoders; 0 by default. */
  clipSkip?: number;
  /** See `GuidedUNetOptions`; 1 by default. */
  reuseFeatures?: number;
  reuseFeaturesBlock?: number | null;
  /** Decodes what the reward judges; the pipeline's own decoder by default. */
  rewardDecoder?: Decoder;
  /** Called once per walk. */
  onActivations?: (activations: SavedActivations) => void;
  /** Called once if the reward cannot run on the engine. */
  warn?: (message: string) => void;
}

/** The options of a configuration that the gradient depends on. */
export const gradientOptions = (config: AlignPropConfig) => ({
  ...samplingOptions(config),
  clipSkip: config.clip_skip,
  penaltyWeights: { kl: config.kl_weight, norm: config.norm_weight },
  rewardPerturbation: config.reward_perturbation,
  cfgGradient: config.cfg_gradient,
  cfgGradientCompensation: config.cfg_gradient_compensation,
  reuseFeatures: config.reuse_features,
  reuseFeaturesBlock: config.reuse_features_block,
});

/** The rewards of a chain's end, and the gradient where the walk up starts. Tensors belong to the caller. */
export interface Judgement extends RewardGradient {
  /** `[B, H, W, 3]` in [0, 1]. */
  readonly images: Tensor4D;
  /** dL/dx_0, `[B, h, w, C]`. */
  readonly latentGradient: Tensor4D;
}

/**
 * AlignProp's gradient (arXiv 2310.03739) for a pipeline and a reward: walk down the chain without a tape, judge its
 * end, walk up again. The loss is L = -lossScale · mean(reward), the mean including chains that the plan re-noises.
 * All functions are compiled once and shared by all micro-batches.
 */
export class AlignPropGradient<M> {
  readonly unet: GuidedUNet;
  readonly decoder: DifferentiableDecoder;
  readonly judge: RewardJudge<M>;
  readonly textEncoder: TextEncoderGradient;
  readonly chain: PlannedChain;

  constructor(
    readonly pipeline: StableDiffusionPipeline,
    rewardFunction: RewardFunction<M>,
    readonly options: AlignPropGradientOptions,
  ) {
    const { kl = 0, norm = 0 } = options.penaltyWeights ?? {};
    this.unet = new GuidedUNet(pipeline, { ...options, reference: kl > 0 || norm > 0 });
    this.decoder = new DifferentiableDecoder(pipeline, options.rewardDecoder);
    this.judge = new RewardJudge(pipeline.engine, rewardFunction, options.warn);
    this.textEncoder = new TextEncoderGradient(pipeline, options.clipSkip);
    this.chain = plannedChain(pipeline.scheduler, options);
  }

  /** Starts a micro-batch. Free it with `dispose`; the inputs stay the caller's. */
  begin(inputs: GradientInputs<M>): MicroBatchGradient<M> {
    return new MicroBatchGradient(this, inputs);
  }

  /**
   * Computes the gradients of one micro-batch: the lines 5 to 8 of `TrainingStep.run` for inputs of your own.
   * @throws NonFiniteError if a latent, a reward or a gradient is NaN or infinite; the signal's reason. Nothing stays
   *   allocated then
   */
  async compute(inputs: GradientInputs<M>): Promise<AlignPropGradients> {
    const scope = new TensorScope();
    const microBatch = this.begin(inputs);
    try {
      const trajectory = scope.own(await microBatch.walkDown());
      const judged = scope.own(await microBatch.judge(trajectory));
      const up = scope.own(await microBatch.walkUp(trajectory, judged));
      const params = await microBatch.gather(up.params, trajectory);
      const { latentGradient, ...results } = judged;
      latentGradient.dispose();
      return { ...results, params, trajectory, latentGradients: up.latents, penalties: up.penalties };
    } catch (error) {
      scope.dispose();
      throw error;
    } finally {
      microBatch.dispose();
    }
  }
}

/**
 * The gradient of one micro-batch, in the order of its methods. They return tensors that belong to the caller, and
 * leave nothing allocated when they throw. `dispose` frees the embeddings and saved activations.
 */
export class MicroBatchGradient<M> {
  readonly #parts: AlignPropGradient<M>;
  readonly #inputs: GradientInputs<M>;
  readonly #chain: PipelineChain;
  /** The weight of each chain in the loss: the plan's own and every re-noised one count alike. */
  readonly #lossScale: number;

  constructor(parts: AlignPropGradient<M>, inputs: GradientInputs<M>) {
    this.#parts = parts;
    this.#inputs = inputs;
    this.#chain = new PipelineChain(parts.unet, inputs, parts.options);
    const { guidanceScale, cfgGradientCompensation } = parts.options;
    const isDivided = cfgGradientCompensation === 'loss' && usesGuidance(parts.pipeline.unet.config, guidanceScale);
    const compensation = isDivided ? guidanceScale : 1;
    this.#lossScale = (inputs.lossScale ?? 1) / (1 + inputs.plan.renoised) / compensation;
  }

  /** Denoises x_T [B, h, w, C] without a tape, as many steps as the plan has; see `DrawnPlan.isGiven`. */
  async walkDown(): Promise<Trajectory> {
    const { pipeline, options } = this.#parts;
    const { steps, realigned } = this.#inputs.plan;
    if (realigned !== undefined) return this.#walkDownRealigned(realigned);
    const predict = this.#chain.savingPrediction(steps);
    return this.#checkedWalk(await walkDown(pipeline, options, { ...this.#inputs, predict }));
  }

  /** Decodes the end of the chain [B, h, w, C] to images [B, H, W, 3], rewards them [B], and returns dL/dx_0. */
  async judge(trajectory: Trajectory): Promise<Judgement> {
    const { distances } = this.#inputs.plan;
    if (!distances) return this.#judge(trajectory);
    const weights = leapWeights(distances, trajectory, straightPath(this.#parts.chain));
    return this.#judge(trajectory, weights).finally(() => weights.dispose());
  }

  async #judge({ latents }: Trajectory, weights?: Tensor1D): Promise<Judgement> {
    const { decoder, judge } = this.#parts;
    const scope = new TensorScope();
    let decoded: DecodedImages | undefined;
    try {
      decoded = await decoder.decode(latents.at(-1)!, this.#inputs.window);
      const images = scope.own(decoded.images);
      const inputs = { ...this.#inputs, weights, lossScale: this.#lossScale };
      const judged = scope.own(await judge.judge(images, inputs));
      await checkRewards(await judged.rewards.data(), this.#inputs.prompts, images, judge.name);
      const imageGradients = scope.own(await this.#perturbed(images, judged, inputs));
      return { ...judged, imageGradients, images, latentGradient: await decoded.backward(imageGradients) };
    } catch (error) {
      scope.dispose();
      throw error;
    } finally {
      decoded?.release();
    }
  }

  /** The gradient of the loss at images that are harder to like, `[B, H, W, 3]`; frees that of the images. */
  async #perturbed(images: Tensor4D, { imageGradients }: RewardGradient, inputs: JudgeInputs<M>): Promise<Tensor4D> {
    const { judge, options } = this.#parts;
    const { rewardPerturbation: radius = 0 } = options;
    if (radius === 0) return imageGradients;
    const harder = harderImages(images, imageGradients, radius);
    const there = await judge.judge(harder, inputs).finally(() => harder.dispose());
    dispose([there.rewards, imageGradients]);
    return there.imageGradients;
  }

  /**
   * Returns the pictures of the end of the chain, [B, H, W, 3]: what the reward judged, or with a reward decoder or a
   * window what the model's own decoder makes of the same latents.
   */
  async pictures({ latents }: Trajectory, { images }: Judgement): Promise<Tensor4D> {
    const { pipeline, options } = this.#parts;
    return options.rewardDecoder || this.#inputs.window ? pipeline.decode(latents.at(-1)!) : clone(images);
  }

  /** Backpropagates dL/dx_0 [B, h, w, C] through the chain. */
  async walkUp(
    trajectory: Trajectory,
    { latentGradient, imageGradients }: Judgement,
    plan: readonly StepPlan[] = this.#walkedPlan,
  ): Promise<ChainGradients> {
    const { signal, prompts } = this.#inputs;
    const { kl = 0, norm = 0 } = this.#parts.options.penaltyWeights ?? {};
    const penaltyWeights = { kl: kl * this.#lossScale, norm: norm * this.#lossScale };
    const gradients = await walkUp(this.#chain, trajectory, plan, latentGradient, { signal, penaltyWeights });
    return checked(gradients, () => checkGradients(gradients, imageGradients, trajectory.steps, prompts));
  }

  /**
   * Completes the gradients of the micro-batch, which it takes over: adds those of the re-noised copies (DRaFT-LV), and
   * backpropagates the gradient of the embeddings through the text encoders that are trained.
   */
  async gather(params: Gradients, trajectory: Trajectory): Promise<Gradients> {
    const { plan, negativePrompts, prompts } = this.#inputs;
    const { textEncoder, options, pipeline } = this.#parts;
    const isGuided = usesGuidance(pipeline.unet.config, options.guidanceScale) && options.cfgGradient !== 'conditional';
    let total = params;
    try {
      for (let copy = 0; copy < plan.renoised; copy++)
        total = accumulate(total, await this.#renoisedGradients(trajectory));
    } catch (error) {
      disposeTensors(total);
      throw error;
    }
    return textEncoder.backward(total, { negativePrompts: isGuided ? negativePrompts : undefined, prompts });
  }

  dispose(): void {
    this.#chain.dispose();
  }

  /** The gradients of a chain of one step that starts from x_0 noised again. */
  async #renoisedGradients(original: Trajectory): Promise<Gradients> {
    const { pipeline, options } = this.#parts;
    const scope = new TensorScope();
    try {
      this.#chain.freeActivations();
      const predict = this.#chain.savingPrediction(lastStepAlone);
      const walked = await walkDownRenoised(pipeline, options, { ...this.#inputs, predict }, original);
      const trajectory = scope.own(await this.#checkedWalk(walked));
      const judged = scope.own(await this.#judge(trajectory));
      const { params, latents } = await this.walkUp(trajectory, judged, lastStepAlone);
      scope.own(latents);
      return params;
    } finally {
      scope.dispose();
    }
  }

  /** The plan of the steps of the trajectory that is judged. */
  get #walkedPlan(): readonly StepPlan[] {
    const { steps, realigned } = this.#inputs.plan;
    return realigned === undefined ? steps : [steps[realigned]!];
  }

  /** Denoises x_T without a gradient, unless images are given, and takes the realigned step from x_0. */
  async #walkDownRealigned(realigned: number): Promise<Trajectory> {
    const { pipeline, options } = this.#parts;
    const { plan, latents } = this.#inputs;
    if (plan.isGiven) return this.#realigned(realigned, latents);
    const detached = plan.steps.map(() => detachedStep);
    const chain = await walkDown(pipeline, options, {
      ...this.#inputs,
      predict: this.#chain.savingPrediction(detached),
    });
    try {
      return await this.#realigned(realigned, chain.latents.at(-1)!);
    } finally {
      dispose([...chain.latents, ...chain.modelOutputs]);
    }
  }

  async #realigned(realigned: number, x0: Tensor4D): Promise<Trajectory> {
    const { pipeline, options } = this.#parts;
    const predict = this.#chain.savingPrediction([this.#inputs.plan.steps[realigned]!]);
    return this.#checkedWalk(await walkDownRealigned(pipeline, options, { ...this.#inputs, predict }, x0));
  }

  #checkedWalk(trajectory: Trajectory): Promise<Trajectory> {
    return checked(trajectory, () => checkLatents(trajectory, this.#inputs.prompts));
  }
}

const lastStepAlone: readonly StepPlan[] = [attachedStep];
