import { dispose, scalar, tensor, tensor1d, type Tensor, type Tensor1D, type Tensor4D } from '@tensorflow/tfjs-core';
import type { ModelFunction } from '@alignprop/autograd-ext';
import { guidedPrediction, type StableDiffusionPipeline, type Step } from '@alignprop/diffusion';
import type { Gradients } from '../optim/gradients.js';
import type { DDPOConfig } from './ddpo-config.js';
import { clippedLoss, transitionLogProb } from './policy.js';
import type { Sample } from './samples.js';

/** A denoising step of a sample. */
export interface TakenStep {
  readonly sample: Sample;
  readonly step: Step;
  /** The advantage of the sample's image. */
  readonly advantage: number;
}

/** The policy gradient of a micro-batch. */
export interface PolicyGradient {
  /** dL/dθ by parameter path; the tensors belong to the caller. */
  readonly params: Gradients;
  /** The mean loss, without the weight. */
  readonly loss: number;
  /** The logarithms of the importance ratios, one per step. */
  readonly logRatios: readonly number[];
}

export interface PolicyGradientOptions {
  /** `[h, w, C]` of the latents. */
  readonly latentShape: readonly number[];
  readonly eta: number;
  /** The guidance of the prediction that is trained. */
  readonly guidanceScale: number;
  readonly clipRange: number;
}

/** The options of a configuration. */
export const policyOptions = (config: DDPOConfig): Omit<PolicyGradientOptions, 'latentShape'> => ({
  eta: config.sample_eta,
  guidanceScale: config.train_cfg ? config.sample_guidance_scale : 1,
  clipRange: config.train_clip_range,
});

/** Computes the gradient of `weight` times the mean clipped loss of steps, each of another sample. */
export type PolicyGradientFunction = (batch: readonly TakenStep[], weight: number) => Promise<PolicyGradient>;

/**
 * Compiles DDPO's gradient function for a pipeline: one call of the UNet together with the loss.
 * @throws (the function) if the scheduler clips, so that its steps are not linear
 */
export function policyGradient(
  pipeline: StableDiffusionPipeline,
  options: PolicyGradientOptions,
): PolicyGradientFunction {
  const { engine, unet } = pipeline;
  const lossVjp = engine.compileVjp(policyLoss(guidedPrediction(unet.config), options.clipRange));
  return async (batch, weight) => {
    const inputs = policyInputs(pipeline, batch, options);
    const dy = scalar(weight);
    const { value, aux, params } = await lossVjp(unet.params, inputs, dy).finally(() => dispose([...inputs, dy]));
    const [loss, logProbs] = [await value.data(), await aux[0]!.data()];
    dispose([value, ...aux]);
    return {
      params,
      loss: loss[0]!,
      logRatios: batch.map(({ sample, step }, i) => logProbs[i]! - sample.logProbs[step.index]!),
    };
  };
}

/** The loss `[]` and the log-probabilities `[B]`, as a function of the inputs of `policyInputs`. */
const policyLoss =
  (predict: ModelFunction, clipRange: number): ModelFunction =>
  (params, latents, timesteps, embeds, guidanceScale, nextLatents, oldLogProbs, advantages, ...factors) => {
    const prediction = predict(params, latents!, timesteps!, embeds!, guidanceScale!) as Tensor4D;
    const [sample, modelOutput, noise] = factors as [Tensor, Tensor, Tensor];
    const logProbs = transitionLogProb(prediction, latents as Tensor4D, nextLatents as Tensor4D, {
      sample,
      modelOutput,
      noise,
    });
    return [clippedLoss(logProbs, oldLogProbs as Tensor1D, advantages as Tensor1D, clipRange), logProbs];
  };

/** The inputs of `policyLoss` for a micro-batch. */
function policyInputs(
  { scheduler, textEncoder }: StableDiffusionPipeline,
  batch: readonly TakenStep[],
  { latentShape, eta, guidanceScale }: PolicyGradientOptions,
): Tensor[] {
  const guided = guidanceScale > 1;
  const stack = (rows: readonly Float32Array[], shape: readonly number[]) =>
    tensor(concatenated(rows), [rows.length, ...shape]);
  const numbers = (value: (taken: TakenStep) => number) => tensor1d(batch.map(value));
  const factor = (name: 'sample' | 'modelOutput' | 'noise') =>
    tensor(
      batch.map(({ step }) => scheduler.coefficients(step, eta)[name]),
      [batch.length, 1, 1, 1],
    );
  const embeds = batch.map(({ sample }) => sample.promptEmbeds);
  const negatives = guided ? batch.map(({ sample }) => sample.negativePromptEmbeds!) : [];
  const width = textEncoder.config.hidden_size;
  const times = batch.map(({ step }) => step.t);
  return [
    stack(
      batch.map(({ sample, step }) => sample.latents[step.index]!),
      latentShape,
    ),
    tensor1d(guided ? [...times, ...times] : times), // one per row of the embeddings
    stack([...negatives, ...embeds], [embeds[0]!.length / width, width]),
    scalar(guidanceScale),
    stack(
      batch.map(({ sample, step }) => sample.latents[step.index + 1]!),
      latentShape,
    ),
    numbers(({ sample, step }) => sample.logProbs[step.index]!),
    numbers(({ advantage }) => advantage),
    factor('sample'),
    factor('modelOutput'),
    factor('noise'),
  ];
}

function concatenated(rows: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(rows.length * rows[0]!.length);
  rows.forEach((row, i) => all.set(row, i * row.length));
  return all;
}
