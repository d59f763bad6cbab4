import { clone, dispose, div, mul, sub, tidy, zerosLike, type Tensor4D } from '@tensorflow/tfjs-core';
import type { Compiled, TorchGenerator } from '@alignprop/autograd-ext';
import {
  drawNoise,
  noisedTo,
  type ChainGuidance,
  type Conditioning,
  type StableDiffusionPipeline,
  type Step,
} from '@alignprop/diffusion';
import type { AlignPropConfig } from '../config/config.js';
import type { DrawnPlan } from '../estimators/plans.js';
import { levelsAfter } from './exact-step.js';
import type { Trajectory } from './walk-up.js';

/** How the chain is sampled; the same for all steps of a run. */
export interface SamplingOptions extends ChainGuidance {
  /** DDIM's η. */
  readonly eta: number;
}

/** The sampling options of a configuration. */
export const samplingOptions = (
  config: Pick<AlignPropConfig, 'sample_num_steps' | 'sample_guidance_scale' | 'sample_eta'> &
    Partial<Pick<AlignPropConfig, 'guidance_interval'>>,
): SamplingOptions => ({
  numInferenceSteps: config.sample_num_steps,
  guidanceScale: config.sample_guidance_scale,
  ...(config.guidance_interval && { guidanceInterval: config.guidance_interval }),
  eta: config.sample_eta,
});

/** Inputs of a walk down besides the weights. Tensors stay the caller's. */
export interface WalkInputs extends Conditioning {
  /** x_T, `[B, h, w, C]`; x_0 of given images where the plan has them (`DrawnPlan.isGiven`). */
  readonly latents: Tensor4D;
  /**
   * The generator of the steps' noise, or a function that returns it. For each chain that the plan re-noises, the
   * function is called at the last step for the noise that is added and then, if eta is above 0, for that of the step.
   */
  readonly noise: TorchGenerator | ((step: Step) => Tensor4D);
  readonly plan: DrawnPlan;
  /** Replaces the pipeline's own prediction, for this walk only. */
  readonly predict?: Compiled;
  readonly signal?: AbortSignal;
}

/**
 * Denoises x_T without a tape, as many steps as the plan has, and ends with what the plan shows to the reward. The
 * trajectory belongs to the caller.
 * @throws if the plan does not fit the schedule; the signal's reason, between steps; nothing stays allocated then
 */
export async function walkDown(
  pipeline: StableDiffusionPipeline,
  options: SamplingOptions,
  inputs: WalkInputs,
): Promise<Trajectory> {
  const { steps: planned, shown } = inputs.plan;
  const schedule = pipeline.scheduler.timesteps(options.numInferenceSteps);
  const isTooShort = planned.length === 0 || (shown !== 'predicted-x_0' && planned.length < schedule.length);
  if (isTooShort || planned.length > schedule.length) {
    throw new Error(
      `walkDown: plan got ${planned.length} entries and shows ${shown}, ` +
        `expected ${schedule.length} entries${shown === 'predicted-x_0' ? ' or fewer' : ''}.`,
    );
  }
  return walk(pipeline, options, inputs, schedule.slice(0, planned.length));
}

/**
 * Noises the end of a trajectory, x_0, to the level of its last step and takes that step again: a chain of one step
 * from other noise, as DRaFT-LV does (arXiv 2309.17400, §4.2). The new trajectory belongs to the caller.
 */
export async function walkDownRenoised(
  pipeline: StableDiffusionPipeline,
  options: SamplingOptions,
  inputs: WalkInputs,
  original: Trajectory,
): Promise<Trajectory> {
  const [step, x0] = [original.steps.at(-1)!, original.latents.at(-1)!];
  const { noise: source } = inputs;
  const noise = typeof source === 'function' ? source(step) : drawNoise(x0.shape, source);
  const latents = tidy(() => noisedTo(pipeline.scheduler, step, x0, noise));
  noise.dispose();
  try {
    return await walk(pipeline, options, { ...inputs, latents }, [step]);
  } finally {
    latents.dispose();
  }
}

/**
 * Noises images to the level of a step with known noise, takes this step without noise of its own, and recovers x_0
 * from what the step leads to: (x' - noise level · ε) / signal level (arXiv 2509.06942, §3.1). The trajectory is
 * the caller's.
 * @param x0 their latents, `[B, h, w, C]`
 */
export async function walkDownRealigned(
  pipeline: StableDiffusionPipeline,
  options: SamplingOptions,
  inputs: WalkInputs,
  x0: Tensor4D,
): Promise<Trajectory> {
  const step = pipeline.scheduler.timesteps(options.numInferenceSteps)[inputs.plan.realigned!]!;
  const { noise: source } = inputs;
  const noise = typeof source === 'function' ? source(step) : drawNoise(x0.shape, source);
  const latents = tidy(() => noisedTo(pipeline.scheduler, step, x0, noise));
  try {
    const plan = { ...inputs.plan, shown: 'x_0' } as const;
    const trajectory = await walk(pipeline, { ...options, eta: 0 }, { ...inputs, latents, plan }, [step]);
    const [start, next] = trajectory.latents;
    const recovered = tidy(() => {
      const levels = levelsAfter(pipeline.scheduler, step);
      return div<Tensor4D>(sub(next!, mul(levels.noise, noise)), levels.signal);
    });
    next!.dispose();
    return { ...trajectory, shown: 'recovered-x_0', latents: [start!, recovered] };
  } finally {
    dispose([latents, noise]);
  }
}

async function walk(
  pipeline: StableDiffusionPipeline,
  options: SamplingOptions,
  { latents: start, noise, plan, ...inputs }: WalkInputs,
  steps: readonly Step[],
): Promise<Trajectory> {
  const latents = [clone(start)];
  const modelOutputs: Tensor4D[] = [];
  const source = typeof noise === 'function' ? { noise } : { generator: noise };
  try {
    for await (const step of pipeline.denoise(start, { ...inputs, ...options, ...source, steps })) {
      latents.push(step.latents);
      modelOutputs.push(step.modelOutput);
    }
    if (plan.shown === 'predicted-x_0') {
      latents.pop()!.dispose();
      latents.push(predictedOriginal(pipeline, steps.at(-1)!, modelOutputs.at(-1)!, latents.at(-1)!, options));
    }
    return { steps, shown: plan.shown, latents, modelOutputs };
  } catch (error) {
    dispose([latents, modelOutputs]);
    throw error;
  }
}

/** The x_0 that the prediction at a step implies, `[B, h, w, C]`. */
const predictedOriginal = (
  { scheduler }: StableDiffusionPipeline,
  step: Step,
  modelOutput: Tensor4D,
  sample: Tensor4D,
  { eta }: SamplingOptions,
): Tensor4D =>
  tidy(() => scheduler.step(modelOutput, step, sample, { eta, noise: zerosLike(sample) }).predOriginalSample);
