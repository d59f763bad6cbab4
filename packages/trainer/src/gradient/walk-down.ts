import { clone, dispose, tidy, zerosLike, type Tensor3D, type Tensor4D } from '@tensorflow/tfjs-core';
import type { Compiled, TorchGenerator } from '@alignprop/autograd-ext';
import { drawNoise, type StableDiffusionPipeline, type Step } from '@alignprop/diffusion';
import type { Trajectory } from './walk-up.js';
import type { AlignPropConfig } from '../config/config.js';
import type { DrawnPlan } from '../estimators/plans.js';

/** How the chain is walked; the same for all steps of a run. */
export interface SamplingOptions {
  numInferenceSteps: number;
  guidanceScale: number;
  eta: number;
}

/** As a configuration says it. */
export const samplingOptions = (
  config: Pick<AlignPropConfig, 'sample_num_steps' | 'sample_guidance_scale' | 'sample_eta'>,
): SamplingOptions => ({
  numInferenceSteps: config.sample_num_steps,
  guidanceScale: config.sample_guidance_scale,
  eta: config.sample_eta,
});

/** What a walk down depends on besides the weights; all of it stays the caller's. */
export interface WalkInputs {
  /** x_T, `[B, h, w, C]`; the embeddings are `[B, L, D]`. */
  readonly latents: Tensor4D;
  readonly promptEmbeds: Tensor3D;
  readonly negativePromptEmbeds?: Tensor3D;
  /**
   * Draws the noise of the steps, or gives it; for each chain that the plan re-noises it is asked at the last step for
   * the noise that is added, then, where eta is above 0, for that of the step.
   */
  readonly noise: TorchGenerator | ((step: Step) => Tensor4D);
  readonly plan: DrawnPlan;
  /** Takes the place of the pipeline's own prediction; made for one walk. */
  readonly predict?: Compiled;
  readonly signal?: AbortSignal;
}

/**
 * Denoises without a tape, as many steps as the plan walks, and ends with what it shows. The trajectory is the
 * caller's.
 * @throws if the plan is not one for this schedule; the signal's reason, between steps
 */
export async function walkDown(
  pipeline: StableDiffusionPipeline,
  options: SamplingOptions,
  inputs: WalkInputs,
): Promise<Trajectory> {
  const { steps: planned, shown } = inputs.plan;
  const schedule = pipeline.scheduler.timesteps(options.numInferenceSteps);
  if (
    planned.length > schedule.length ||
    planned.length === 0 ||
    (shown === 'x_0' && planned.length < schedule.length)
  ) {
    throw new Error(
      `walkDown: plan got ${planned.length} entries and shows ${shown}, expected ${schedule.length} entries${shown === 'x_0' ? '' : ' or fewer'}.`,
    );
  }
  return walk(pipeline, options, inputs, schedule.slice(0, planned.length));
}

/**
 * Noises what a trajectory ends with to the level of its last step, and takes that step again: a chain of one step from
 * other noise, as DRaFT-LV does (arXiv 2309.17400, §4.2). The trajectory returned is the caller's.
 */
export async function walkDownAgain(
  pipeline: StableDiffusionPipeline,
  options: SamplingOptions,
  inputs: WalkInputs,
  done: Trajectory,
): Promise<Trajectory> {
  const [step, original] = [done.steps.at(-1)!, done.latents.at(-1)!];
  const { noise: source } = inputs;
  const noise = typeof source === 'function' ? source(step) : drawNoise(original.shape, source);
  const latents = tidy(() =>
    pipeline.scheduler.addNoise(original, noise, new Array<number>(original.shape[0]).fill(step.t)),
  );
  noise.dispose();
  try {
    return await walk(pipeline, options, { ...inputs, latents }, [step]);
  } finally {
    latents.dispose();
  }
}

async function walk(
  pipeline: StableDiffusionPipeline,
  options: SamplingOptions,
  { latents, promptEmbeds, negativePromptEmbeds, noise, plan, predict, signal }: WalkInputs,
  steps: readonly Step[],
): Promise<Trajectory> {
  const kept = { latents: [clone(latents)], modelOutputs: [] as Tensor4D[] };
  const source = typeof noise === 'function' ? { noise } : { generator: noise };
  try {
    for await (const down of pipeline.denoise(latents, {
      promptEmbeds,
      negativePromptEmbeds,
      predict,
      signal,
      steps,
      ...source,
      ...options,
    })) {
      kept.latents.push(down.latents);
      kept.modelOutputs.push(down.modelOutput);
    }
    if (plan.shown === 'predicted-x_0') {
      kept.latents.pop()!.dispose();
      kept.latents.push(
        predictedOriginal(pipeline, steps.at(-1)!, kept.modelOutputs.at(-1)!, kept.latents.at(-1)!, options),
      );
    }
    return { steps, shown: plan.shown, ...kept };
  } catch (error) {
    dispose(kept);
    throw error;
  }
}

const predictedOriginal = (
  { scheduler }: StableDiffusionPipeline,
  step: Step,
  modelOutput: Tensor4D,
  sample: Tensor4D,
  { eta }: SamplingOptions,
): Tensor4D =>
  tidy(() => scheduler.step(modelOutput, step, sample, { eta, noise: zerosLike(sample) }).predOriginalSample);
