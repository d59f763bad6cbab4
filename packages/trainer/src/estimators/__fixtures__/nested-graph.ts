import {
  add,
  div,
  mean,
  mul,
  neg,
  ones,
  randomNormal,
  scalar,
  square,
  sub,
  tensor1d,
  tidy,
  zerosLike,
  type Tensor,
  type Tensor1D,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { disposeTensors, random, trainable, type ModelFunction, type Params } from '@alignprop/autograd-ext';
import {
  DDIMScheduler,
  decodeImages,
  guidedInputs,
  guidedPrediction,
  type StableDiffusionPipeline,
  type Step,
} from '@alignprop/diffusion';
import { addLora } from '@alignprop/lora';
import type { RewardFunction } from '@alignprop/rewards';
import { expect } from 'vitest';
import { expectClose } from '../../../../../fixtures/index.js';
import { stopGradient } from '../../__fixtures__/stop-gradient.js';
import { tinyPipeline } from '../../__fixtures__/tiny-run.js';
import { AlignPropGradient, type GradientInputs } from '../../gradient/alignprop-gradient.js';
import { leapWeights } from '../../gradient/leap-weights.js';
import { plannedChain } from '../planned-chain.js';
import { straightPath } from '../straight-path.js';
import { attachedStep, detachedStep, type DrawnPlan, type StepPlan } from '../plans.js';
import { withFactors } from './with-factors.js';

export const sampling = { numInferenceSteps: 4, guidanceScale: 3, eta: 0.6 };
const size = { height: 16, width: 16 };
const prompts = ['a cat', 'a dog'];

/** Not linear, so that the gradient depends on the image. */
export const reward: RewardFunction = (images) => mul(neg(mean(square(sub(images, 0.3)), [1, 2, 3])), 20);

/** A pipeline whose adapter changes its predictions: B starts at 0, where A has no gradient. */
export async function adaptedPipeline(): Promise<StableDiffusionPipeline> {
  const base = await tinyPipeline();
  const params = addLora(base.unet.params, { r: 2, loraAlpha: 2, targetModules: ['to_q', 'to_out.0'] }, random(5));
  for (const variable of Object.values(trainable(params)))
    variable.assign(randomNormal(variable.shape, 0, 0.2, 'float32', 6));
  return base.with({
    unet: base.unet.withParams(params),
    scheduler: DDIMScheduler.fromConfig(base.scheduler.config),
  });
}

/** The same noise for the same call. */
export const noiseOf = (call: number): Tensor4D => randomNormal([2, 4, 4, 4], 0, 1, 'float32', 100 + call);

/** The same inputs for every call. */
export async function newInputs(pipeline: StableDiffusionPipeline, plan: DrawnPlan): Promise<GradientInputs<unknown>> {
  let call = 0;
  return {
    latents: pipeline.prepareLatents({ batch: 2, numInferenceSteps: 4, ...size, generator: random(1) }),
    promptEmbeds: (await pipeline.encodePrompt(prompts)).promptEmbeds,
    negativePromptEmbeds: (await pipeline.encodePrompt(['', ''])).promptEmbeds,
    noise: () => noiseOf(call++),
    plan,
    prompts,
    promptMetadata: [],
  };
}

/** Expects the gradient of every trained weight, and the loss, to be those of the chain as one graph. */
export async function expectNestedGradient(
  pipeline: StableDiffusionPipeline,
  drawn: DrawnPlan,
  eta: number,
): Promise<void> {
  const inputs = await newInputs(pipeline, drawn);
  const actual = await new AlignPropGradient(pipeline, reward, { ...sampling, eta }).compute(inputs);
  const { embeds, guidanceScale } = guidedInputs(pipeline.unet.config, inputs, sampling.guidanceScale);
  const path = () => straightPath(plannedChain(pipeline.scheduler, { ...sampling, eta }));
  const weights = drawn.distances && leapWeights(drawn.distances, actual.trajectory, path());
  const whole = pipeline.engine.compileVjp(nestedGraph(pipeline, drawn, eta, weights));
  const params = { unet: pipeline.unet.params, vae: pipeline.vae.params };
  const expected = await whole(params, [inputs.latents, embeds, guidanceScale], scalar(1));
  const paths = Object.keys(actual.params);
  expect(paths.length).toBeGreaterThan(8);
  expect(paths.map((path) => `unet.${path}`).sort()).toEqual(Object.keys(expected.params).sort());
  for (const path of paths) expectClose(actual.params[path]!, expected.params[`unet.${path}`]!, 1e-4, path);
  if (drawn.renoised === 0)
    expectClose(
      tidy(() => neg(mean(weights ? mul(actual.rewards, weights) : actual.rewards))),
      expected.value,
      1e-5,
      'loss',
    );
  expect(actual.images.shape).toEqual([2, 16, 16, 3]);
  expect(actual.trajectory.steps).toHaveLength(drawn.realigned === undefined ? drawn.steps.length : 1);
  disposeTensors([actual, expected]);
}

/**
 * A whole chain with its reward as one graph with detached parts, as the papers' code has it: the loss of
 * `(params, x_T, embeddings, guidance scale)`.
 */
function nestedGraph(
  { scheduler, unet, vae }: StableDiffusionPipeline,
  { steps: planned, shown, renoised, realigned, isGiven }: DrawnPlan,
  eta: number,
  imageWeights?: Tensor1D,
): ModelFunction {
  const predict = guidedPrediction(unet.config);
  const schedule = scheduler.timesteps(sampling.numInferenceSteps).slice(0, planned.length);
  return (params, start, embeds, scale) => {
    const weights = params as { unet: Params; vae: Params };
    let call = 0;
    const denoise = (x: Tensor4D, step: Step, factors: StepPlan) => {
      const output = withFactors(predict, factors)(weights.unet, x, tensor1d([step.t]), embeds!, scale!) as Tensor4D;
      return scheduler.step(output, step, x, { eta, noise: eta > 0 ? noiseOf(call++) : undefined });
    };
    const last = schedule.at(-1)!;
    const end = (x: Tensor4D, step: StepPlan) =>
      denoise(x, last, step)[shown === 'x_0' ? 'prevSample' : 'predOriginalSample'];
    const score = (x: Tensor4D) => {
      const rewards = reward(decodeImages(vae.config)(weights.vae, x) as Tensor4D, prompts, []) as Tensor;
      return mean(imageWeights ? mul(rewards, imageWeights) : rewards);
    };
    const walked = (i: number) => (realigned === undefined ? planned[i]! : detachedStep);
    const before = () =>
      schedule.slice(0, -1).reduce((x, step, i) => denoise(x, step, walked(i)).prevSample, start as Tensor4D);
    /** Direct-Align's x_0 + (x' - x'*) / √ᾱ', where x'* is what a perfect model's step leads to. */
    const recovered = (x0: Tensor4D, step: Step, noise: Tensor4D) => {
      const noised = scheduler.addNoise(x0, noise, [step.t, step.t]);
      const output = predict(weights.unet, noised, tensor1d([step.t]), embeds!, scale!) as Tensor4D;
      const stepFrom = (prediction: Tensor4D) => scheduler.step(prediction, step, noised, { eta: 0 }).prevSample;
      const perfect = scheduler.getVelocity(x0, noise, [step.t, step.t]); // the fixture predicts velocities
      const one: Tensor4D = ones([1, 1, 1, 1]);
      const signal = scheduler.addNoise(one, zerosLike(one), [Math.max(step.prev, 0)]);
      return add(x0, div(sub(stepFrom(output), stepFrom(perfect)), signal)) as Tensor4D;
    };
    if (realigned !== undefined) {
      const original = isGiven ? (start as Tensor4D) : stopGradient(denoise(before(), last, detachedStep).prevSample);
      return neg(score(recovered(original, schedule[realigned]!, noiseOf(call++))));
    }
    const judged = end(before(), planned.at(-1)!);
    let total = score(judged);
    for (let copy = 0; copy < renoised; copy++) {
      const noised = scheduler.addNoise(stopGradient(judged), noiseOf(call++), [last.t, last.t]);
      total = add(total, score(end(noised, attachedStep)));
    }
    return neg(div(total, 1 + renoised));
  };
}
