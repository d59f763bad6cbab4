import { dispose, scalar, tensor, tensor1d, type Tensor, type Tensor1D, type Tensor4D } from '@tensorflow/tfjs-core';
import { disposeTensors, type ModelFunction } from '@alignprop/autograd-ext';
import {
  guidedInputs,
  guidedPrediction,
  type Conditioning,
  type StableDiffusionPipeline,
  type Step,
} from '@alignprop/diffusion';
import type { Gradients } from '../optim/gradients.js';
import type { DDPOConfig } from './ddpo-config.js';
import { clippedLoss, transitionLogProb } from './policy.js';
import { conditioningNames, type Sample } from './samples.js';

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
  (params, latents, nextLatents, oldLogProbs, advantages, sample, modelOutput, noise, ...conditions) => {
    const prediction = predict(params, latents!, ...conditions) as Tensor4D;
    const logProbs = transitionLogProb(prediction, latents as Tensor4D, nextLatents as Tensor4D, {
      sample: sample!,
      modelOutput: modelOutput!,
      noise: noise!,
    });
    return [clippedLoss(logProbs, oldLogProbs as Tensor1D, advantages as Tensor1D, clipRange), logProbs];
  };

/** The inputs of `policyLoss` for a micro-batch. */
function policyInputs(
  { scheduler, unet }: StableDiffusionPipeline,
  batch: readonly TakenStep[],
  { latentShape, eta, guidanceScale }: PolicyGradientOptions,
): Tensor[] {
  const numbers = (value: (taken: TakenStep) => number) => tensor1d(batch.map(value));
  const latents = (offset: 0 | 1) =>
    stacked(
      batch.map(({ sample, step }) => sample.latents[step.index + offset]!),
      latentShape,
    );
  const factor = (name: 'sample' | 'modelOutput' | 'noise') =>
    tensor(
      batch.map(({ step }) => scheduler.coefficients(step, eta)[name]),
      [batch.length, 1, 1, 1],
    );
  const conditioning = conditioningOf(batch, [unet.config.cross_attention_dim].flat()[0]!);
  const { embeds, guidanceScale: scale, added } = guidedInputs(unet.config, conditioning, guidanceScale);
  disposeTensors(conditioning);
  const times = batch.map(({ step }) => step.t);
  return [
    latents(0),
    latents(1),
    numbers(({ sample, step }) => sample.logProbs[step.index]!),
    numbers(({ advantage }) => advantage),
    factor('sample'),
    factor('modelOutput'),
    factor('noise'),
    tensor1d(embeds.shape[0] > batch.length ? [...times, ...times] : times), // one per row of the embeddings
    embeds,
    scale,
    // Steps with a density have no scaled input.
    ...(added.length > 0 ? [scalar(1), ...added] : []),
  ];
}

/**
 * Stacks the conditioning of samples.
 * @param width D of the embeddings, `[B, L, D]`
 */
function conditioningOf(batch: readonly TakenStep[], width: number): Conditioning {
  const rows = batch.map(({ sample }) => sample.conditioning);
  const entries = conditioningNames
    .filter((name) => rows[0]![name] !== undefined)
    .map((name) => {
      const values = rows.map((row) => row[name]!);
      const { length } = values[0]!;
      const isSequence = name === 'promptEmbeds' || name === 'negativePromptEmbeds';
      return [name, stacked(values, isSequence ? [length / width, width] : [length])] as const;
    });
  return Object.fromEntries(entries) as unknown as Conditioning;
}

const stacked = (rows: readonly Float32Array[], shape: readonly number[]): Tensor =>
  tensor(concatenated(rows), [rows.length, ...shape]);

function concatenated(rows: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(rows.length * rows[0]!.length);
  rows.forEach((row, i) => all.set(row, i * row.length));
  return all;
}
