import { dispose, type Tensor1D, type Tensor4D } from '@tensorflow/tfjs-core';
import type { StableDiffusionPipeline, Step } from '@alignprop/diffusion';
import type { RewardFunction } from '@alignprop/rewards';
import { walkUp, type Chain, type ChainGradients, type Trajectory } from './walk-up.js';
import { accumulate, globalNorm, type Gradients } from '../optim/gradients.js';
import { differentiableDecoder, type Decoded } from './differentiable-decoder.js';
import { rewardJudge, type JudgeInputs } from './reward-evaluation.js';
import { pipelineChain, type KeptSteps } from './pipeline-chain.js';
import { firstNonFinite, NonFiniteError } from '../optim/non-finite.js';
import type { StepPlan } from '../estimators/plans.js';
import { textEncoderGradients } from './text-encoder-gradients.js';
import { walkDown, walkDownAgain, type SamplingOptions, type WalkInputs } from './walk-down.js';
import { disposeTensors } from '@alignprop/autograd-ext';

/** Everything that one micro-batch depends on besides the weights: with the same inputs come the same gradients. */
export interface GradientInputs<M> extends WalkInputs, JudgeInputs<M> {
  /** The texts of `negativePromptEmbeds`, needed where the text encoder is trained. */
  readonly negativePrompts?: readonly string[];
  /** 1 / micro-batches. */
  readonly lossScale?: number;
}

/** What a micro-batch gives. Tensors belong to the caller. */
export interface AlignPropGradients {
  /** dL/dθ by parameter path, of L = -lossScale · mean(reward). */
  readonly params: Gradients;
  /** Those of `images`; the rewards of chains that the plan re-noises only enter the gradient. */
  readonly rewards: Tensor1D;
  /** What the reward says of them besides, by name. */
  readonly terms: Readonly<Record<string, Float32Array>>;
  /** What the plan shows, decoded: `[B, H, W, 3]` in [0, 1]. */
  readonly images: Tensor4D;
  readonly trajectory: Trajectory;
  readonly imageGradients: Tensor4D;
  /** As `ChainGradients.kl`, of the chain that `images` end. */
  readonly kl?: number;
  /** As `ChainGradients.latents`. */
  readonly latentGradients: ChainGradients['latents'];
}

export type GradientFunction<M> = (inputs: GradientInputs<M>) => Promise<AlignPropGradients>;

/**
 * Makes AlignProp's gradient function for a pipeline (arXiv 2310.03739): walk down the chain without a tape, judge what
 * the plan shows, walk up again. L = -lossScale · mean(reward), over the chain and those that the plan re-noises.
 * Nothing stays allocated when it throws.
 * @param options.klWeight adds klWeight · lossScale · the `kl` of `walkUp` to L; the UNet has to have an adapter
 * @throws (the function) NonFiniteError if a reward or gradient is NaN or infinite; the signal's reason
 */
export function alignPropGradients<M>(
  pipeline: StableDiffusionPipeline,
  rewardFunction: RewardFunction<M>,
  {
    klWeight = 0,
    ...options
  }: SamplingOptions & { klWeight?: number; onKept?: (steps: KeptSteps) => void; warn?: (message: string) => void },
): GradientFunction<M> {
  const chainOf = pipelineChain(pipeline, { ...options, reference: klWeight > 0 });
  const decode = differentiableDecoder(pipeline);
  const throughTextEncoder = textEncoderGradients(pipeline);
  const judge = rewardJudge(pipeline.engine, rewardFunction, options.warn);

  /** Judges the end of a walk, and walks up. */
  async function judgeAndWalkUp(
    chain: Chain,
    trajectory: Trajectory,
    steps: readonly StepPlan[],
    inputs: GradientInputs<M>,
  ): Promise<AlignPropGradients> {
    const owned: unknown[] = [trajectory];
    const own = <T>(value: T): T => (owned.push(value), value);
    let decoded: Decoded | undefined;
    try {
      await checkLatents(trajectory, inputs.prompts);
      decoded = await decode(trajectory.latents.at(-1)!);
      const images = own(decoded.images);
      const { rewards, terms, imageGradients } = own(await judge(images, inputs));
      await checkRewards(await rewards.data(), inputs.prompts, images);
      const gradient = await decoded.backward(imageGradients);
      decoded.release();
      const up = own(
        await walkUp(chain, trajectory, steps, gradient, {
          signal: inputs.signal,
          klWeight: klWeight * (inputs.lossScale ?? 1),
        }).finally(() => dispose(gradient)),
      );
      await checkGradients(up, imageGradients, trajectory.steps, inputs.prompts);
      return {
        params: up.params,
        rewards,
        terms,
        images,
        trajectory,
        imageGradients,
        latentGradients: up.latents,
        kl: up.kl,
      };
    } catch (error) {
      disposeTensors(owned);
      throw error;
    } finally {
      decoded?.release();
    }
  }

  return async (inputs) => {
    const { plan, lossScale = 1 } = inputs;
    const share = { ...inputs, lossScale: lossScale / (1 + plan.renoised) };
    const { chain, predictDown, forget, release } = chainOf(inputs);
    let made: AlignPropGradients | undefined;
    try {
      made = await judgeAndWalkUp(
        chain,
        await walkDown(pipeline, options, { ...inputs, predict: predictDown(plan.steps) }),
        plan.steps,
        share,
      );
      for (let copy = 0; copy < plan.renoised; copy++) {
        forget();
        const again = await walkDownAgain(
          pipeline,
          options,
          { ...inputs, predict: predictDown(lastStepAlone) },
          made.trajectory,
        );
        const { params, ...rest } = await judgeAndWalkUp(chain, again, lastStepAlone, share);
        disposeTensors(rest);
        made = { ...made, params: accumulate(made.params, params) };
      }
      const texts = options.guidanceScale > 1 ? [...(inputs.negativePrompts ?? []), ...inputs.prompts] : inputs.prompts;
      return { ...made, params: await throughTextEncoder(made.params, texts) };
    } catch (error) {
      disposeTensors(made);
      throw error;
    } finally {
      release();
    }
  };
}

const lastStepAlone: readonly StepPlan[] = [{ attached: true, inputDetached: true }];

/** Decoding clips, and a backend may clip NaN to a number: what is wrong with the latents has to be seen here. */
async function checkLatents({ steps, latents }: Trajectory, prompts: readonly string[]): Promise<void> {
  if (!(await firstNonFinite([['x_0', latents.at(-1)]]))) return;
  const source = await firstNonFinite(
    latents.map((x, i) => [
      i === 0 ? 'the starting latents' : `the latents after denoising step ${i - 1} (t = ${steps[i - 1]!.t})`,
      x,
    ]),
  );
  throw new NonFiniteError(
    `the denoising chain of the prompts ${quoted(prompts)} is not finite. The first such tensor is ${source}.`,
  );
}

async function checkRewards(values: ArrayLike<number>, prompts: readonly string[], images: Tensor4D): Promise<void> {
  const index = Array.from(values).findIndex((value) => !Number.isFinite(value));
  if (index < 0) return;
  const blame = (await firstNonFinite([['images', images]]))
    ? 'The first tensor that is not finite is the decoded images.'
    : 'The images are finite, so it comes from the reward function.';
  throw new NonFiniteError(`the reward of image ${index} ('${prompts[index]}') is ${values[index]}. ${blame}`);
}

async function checkGradients(
  { params, latents }: ChainGradients,
  images: Tensor4D,
  steps: readonly Step[],
  prompts: readonly string[],
): Promise<void> {
  const norm = globalNorm(params);
  const finite = Number.isFinite((await norm.data())[0]);
  norm.dispose();
  if (finite) return;
  const chain = latents.map(
    (x, i) =>
      [
        steps[i] ? `the gradient of the latents before denoising step ${i} (t = ${steps[i].t})` : 'the gradient of x_0',
        x,
      ] as const,
  );
  const weights = Object.entries(params).map(([path, x]) => [`the gradient of ${path}`, x] as const);
  const source = await firstNonFinite([
    ["the reward's gradient of the images", images],
    ...chain.reverse(),
    ...weights,
  ]);
  throw new NonFiniteError(
    `a gradient is not finite for the prompts ${quoted(prompts)}. The first such tensor is ${source ?? 'their norm'}.`,
  );
}

const quoted = (prompts: readonly string[]) => prompts.map((prompt) => `'${prompt}'`).join(', ');
