import {
  add,
  div,
  mean,
  mul,
  neg,
  randomNormal,
  scalar,
  square,
  sub,
  tensor1d,
  tidy,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import {
  random,
  trainable,
  useBackend,
  type ModelFunction,
  type Params,
  disposeTensors,
} from '@alignprop/autograd-ext';
import { expectNoLeaks } from '@alignprop/autograd-ext/testing';
import {
  DDIMScheduler,
  decodeImages,
  guidedEmbeds,
  guidedPrediction,
  type StableDiffusionPipeline,
  type Step,
} from '@alignprop/diffusion';
import { addLora } from '@alignprop/lora';
import type { RewardFunction } from '@alignprop/rewards';
import { beforeAll, describe, expect, it } from 'vitest';
import { expectClose } from '../../../../fixtures/index.js';
import { stopGradient } from '../__fixtures__/stop-gradient.js';
import { collect, tinyPipeline, tinyTrainer } from '../__fixtures__/tiny-run.js';
import { gaussian, uniform } from './cuts.js';
import { alignPropGradients, type GradientInputs } from '../gradient/alignprop-gradients.js';
import {
  draftLV,
  drawPlan,
  drTune,
  full,
  lastK,
  perStep,
  perTrajectory,
  refl,
  type DrawnPlan,
  type Plan,
  type StepPlan,
} from './plans.js';

const sampling = { numInferenceSteps: 4, guidanceScale: 3, eta: 0.6 };
const size = { height: 16, width: 16 };
const prompts = ['a cat', 'a dog'];
/** Not linear, so that what an image is worth depends on the image. */
const reward: RewardFunction = (images) => mul(neg(mean(square(sub(images, 0.3)), [1, 2, 3])), 20);

let pipeline: StableDiffusionPipeline;
beforeAll(async () => {
  await useBackend('wasm');
  const base = await tinyPipeline();
  const params = addLora(base.unet.params, { r: 2, loraAlpha: 2, targetModules: ['to_q', 'to_out.0'] }, random(5));
  for (const variable of Object.values(trainable(params)))
    variable.assign(randomNormal(variable.shape, 0, 0.2, 'float32', 6)); // B starts at 0, where A has no gradient
  pipeline = base.with({
    unet: base.unet.withParams(params),
    scheduler: DDIMScheduler.fromConfig(base.scheduler.config),
  });
});

/** The same noise for the same call. */
const noiseOf = (call: number): Tensor4D => randomNormal([2, 4, 4, 4], 0, 1, 'float32', 100 + call);

async function newInputs(plan: DrawnPlan): Promise<GradientInputs<unknown>> {
  let call = 0;
  return {
    latents: pipeline.prepareLatents({ batch: 2, ...size, generator: random(1) }),
    promptEmbeds: await pipeline.encodePrompt(prompts),
    negativePromptEmbeds: await pipeline.encodePrompt(['', '']),
    noise: () => noiseOf(call++),
    plan,
    prompts,
    promptMetadata: [],
  };
}

/**
 * All that an estimator does as one graph with detached parts, as the papers' code has it: the loss of `(params, x_T,
 * embeddings, guidance)`.
 */
function nested({ steps: planned, shown, renoised }: DrawnPlan, eta: number): ModelFunction {
  const { scheduler, unet, vae } = pipeline;
  const predict = guidedPrediction(unet.config);
  const schedule = scheduler.timesteps(sampling.numInferenceSteps).slice(0, planned.length);
  return (params, start, embeds, scale) => {
    const weights = params as { unet: Params; vae: Params };
    let call = 0;
    const denoise = (x: Tensor4D, step: Step, { attached, inputDetached }: StepPlan) => {
      const output = predict(
        weights.unet,
        inputDetached ? stopGradient(x) : x,
        tensor1d([step.t]),
        embeds!,
        scale!,
      ) as Tensor4D;
      return scheduler.step(attached ? output : stopGradient(output), step, x, {
        eta,
        noise: eta > 0 ? noiseOf(call++) : undefined,
      });
    };
    const last = schedule.at(-1)!;
    const end = (x: Tensor4D, step: StepPlan) =>
      denoise(x, last, step)[shown === 'x_0' ? 'prevSample' : 'predOriginalSample'];
    const score = (x: Tensor4D) => mean(reward(decodeImages(vae.config)(weights.vae, x) as Tensor4D, prompts, []));
    const before = schedule
      .slice(0, -1)
      .reduce((x, step, i) => denoise(x, step, planned[i]!).prevSample, start as Tensor4D);
    const judged = end(before, planned.at(-1)!);
    let total = score(judged);
    for (let copy = 0; copy < renoised; copy++) {
      const noised = scheduler.addNoise(stopGradient(judged), noiseOf(call++), [last.t, last.t]);
      total = add(total, score(end(noised, { attached: true, inputDetached: false })));
    }
    return neg(div(total, 1 + renoised));
  };
}

const plans: readonly (readonly [Plan, eta: number])[] = [
  [perStep(uniform(0, 5)), 0.6],
  [perTrajectory('gaussian', gaussian(2, 1), 1), 0.6],
  [full(), 0.6],
  [lastK(2), 0],
  [draftLV(2), 0],
  [draftLV(1), 0.6],
  [refl(2), 0.6],
  [drTune(2, 2), 0.6],
  [{ ...drTune(2, 2), name: 'drtune, re-noised', renoised: 1 }, 0],
];

describe('the gradient of a UNet', () => {
  it.each(plans.map(([plan, eta]) => [plan.name, eta, plan] as const))(
    '%s at eta %d is that of one graph',
    async (_, eta, plan) => {
      const drawn = drawPlan(plan, sampling.numInferenceSteps, random(3));
      const inputs = await newInputs(drawn);
      const made = await alignPropGradients(pipeline, reward, { ...sampling, eta })(inputs);
      const embeds = guidedEmbeds(inputs.promptEmbeds, inputs.negativePromptEmbeds, sampling.guidanceScale);
      const whole = pipeline.engine.compileVjp(nested(drawn, eta));
      const params = { unet: pipeline.unet.params, vae: pipeline.vae.params };
      const expected = await whole(params, [inputs.latents, embeds, scalar(sampling.guidanceScale)], scalar(1));
      const paths = Object.keys(made.params);
      expect(paths.length).toBeGreaterThan(8);
      expect(paths.map((path) => `unet.${path}`).sort()).toEqual(Object.keys(expected.params).sort());
      for (const path of paths) expectClose(made.params[path]!, expected.params[`unet.${path}`]!, 1e-4, path);
      if (drawn.renoised === 0)
        expectClose(
          tidy(() => neg(mean(made.rewards))),
          expected.value,
          1e-5,
          'loss',
        );
      expect(made.images.shape).toEqual([2, 16, 16, 3]);
      expect(made.trajectory.steps).toHaveLength(drawn.steps.length);
      disposeTensors([made, expected]);
    },
  );

  it('divides by the micro-batches and by the copies alike', async () => {
    const drawn = drawPlan(draftLV(2), 4, random(0));
    const gradientsOf = alignPropGradients(pipeline, reward, sampling);
    const [one, half] = [
      await gradientsOf(await newInputs(drawn)),
      await gradientsOf({ ...(await newInputs(drawn)), lossScale: 0.5 }),
    ];
    for (const [path, gradient] of Object.entries(half.params))
      expectClose(
        tidy(() => mul(gradient, 2)),
        one.params[path]!,
        1e-5,
        path,
      );
  });
});

describe('alignPropGradients', () => {
  it('runs the UNet no further than what is shown, and up through attached steps alone', async () => {
    const inputs = await newInputs(drawPlan(refl(1), 4, random(0)));
    const asked: number[] = [];
    const spying = pipeline.with({});
    spying.denoise = (latents, options) => (asked.push(options.steps!.length), pipeline.denoise(latents, options));
    const early = { ...inputs, plan: { ...inputs.plan, steps: inputs.plan.steps.slice(1) } };
    const { trajectory, latentGradients } = await alignPropGradients(spying, reward, sampling)(early);
    expect(asked).toEqual([3]);
    expect(trajectory.latents).toHaveLength(4);
    expect(latentGradients.map((gradient) => gradient !== undefined)).toEqual([false, false, false, true]);
  });

  it('keeps nothing when a copy fails, and nothing besides its result when none does', async () => {
    const inputs = await newInputs(drawPlan(draftLV(2), 4, random(0)));
    let calls = 0;
    const failing: RewardFunction = (images, ...rest) => {
      if (++calls === 3) throw new Error('no reward');
      return reward(images, ...rest);
    };
    await expectNoLeaks(async () => {
      await expect(alignPropGradients(pipeline, failing, sampling)(inputs)).rejects.toThrow('no reward');
    });
    await expectNoLeaks(async () => disposeTensors(await alignPropGradients(pipeline, reward, sampling)(inputs)));
  });

  it('refuses a plan that is not one for the schedule', async () => {
    const inputs = await newInputs(drawPlan(full(), 3, random(0)));
    await expect(alignPropGradients(pipeline, reward, sampling)(inputs)).rejects.toThrow(
      /plan got 3 entries and shows x_0, expected 4 entries\./,
    );
    const long = await newInputs(drawPlan(refl(1), 5, random(0)));
    await expect(alignPropGradients(pipeline, reward, sampling)(long)).rejects.toThrow(
      /plan got 5 entries and shows predicted-x_0, expected 4 entries or fewer\./,
    );
  });
});

it.each(['full', 'draft-k', 'draft-lv', 'refl', 'drtune'] as const)(
  'AlignPropTrainer trains by %s, the same from the same seed',
  async (estimator) => {
    const base = await tinyPipeline();
    const run = async () => {
      const trainer = tinyTrainer({
        pipeline: base,
        config: { estimator, num_epochs: 1, train_batch_size: 1 },
      });
      const metrics = await collect(trainer);
      trainer.dispose();
      return metrics[0]!;
    };
    const first = await run();
    expect(first.gradNorm).toBeGreaterThan(0);
    expect(await run()).toEqual(first);
  },
);
