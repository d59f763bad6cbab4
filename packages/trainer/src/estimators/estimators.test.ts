import { mul, tidy } from '@tensorflow/tfjs-core';
import { disposeTensors, random, useBackend } from '@alignprop/autograd-ext';
import { expectNoLeaks } from '@alignprop/autograd-ext/testing';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import type { RewardFunction } from '@alignprop/rewards';
import { beforeAll, describe, expect, it } from 'vitest';
import { expectClose } from '../../../../fixtures/index.js';
import { collect, tinyPipeline, tinyTrainer } from '../__fixtures__/tiny-run.js';
import { AlignPropGradient } from '../gradient/alignprop-gradient.js';
import { adaptedPipeline, expectNestedGradient, newInputs, reward, sampling } from './__fixtures__/nested-graph.js';
import { AttachmentPlan } from './attachment-plan.js';
import { EquallySpacedSteps } from './attachments.js';
import { chainOf } from './__fixtures__/chains.js';
import { gaussian, uniform } from './cuts.js';
import { draftLV, full, lastK } from './draft.js';
import { drTune, drTuneEnd } from './drtune.js';
import { perStep } from './per-step.js';
import { perTrajectory } from './per-trajectory.js';
import { drawPlan, type Plan } from './plans.js';
import { refl, reflEnd } from './refl.js';

let pipeline: StableDiffusionPipeline;
beforeAll(async () => {
  await useBackend('wasm');
  pipeline = await adaptedPipeline();
});

const plans: readonly (readonly [Plan, eta: number])[] = [
  [perStep(uniform(0, 5)), 0.6],
  [perTrajectory('gaussian', gaussian(2, 1), 1), 0.6],
  [full(), 0.6],
  [lastK(2), 0],
  [draftLV(2), 0],
  [draftLV(1), 0.6],
  [refl(2), 0.6],
  [drTune(2, 2), 0.6],
  [drTuneEnd(2, 2), 0.6],
  [reflEnd(2), 0.6],
  [
    new AttachmentPlan({
      name: 'drtune, re-noised',
      attached: new EquallySpacedSteps(2),
      ...{ detachInput: true, within: 2, showPredicted: true, renoised: 1 },
    }),
    0,
  ],
];

describe('the gradient of a UNet', () => {
  it.each(plans.map(([plan, eta]) => [plan.name, eta, plan] as const))(
    'equals that of one graph for %s at eta %d',
    async (_, eta, plan) => {
      await expectNestedGradient(pipeline, drawPlan(plan, chainOf(sampling.numInferenceSteps), random(3)), eta);
    },
  );

  it('divides the loss by micro-batches and by re-noised copies', async () => {
    const drawn = drawPlan(draftLV(2), chainOf(4), random(0));
    const gradient = new AlignPropGradient(pipeline, reward, sampling);
    const [one, half] = [
      await gradient.compute(await newInputs(pipeline, drawn)),
      await gradient.compute({ ...(await newInputs(pipeline, drawn)), lossScale: 0.5 }),
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

describe('AlignPropGradient', () => {
  it('runs the UNet no further than the step that is judged, and differentiates attached steps only', async () => {
    const inputs = await newInputs(pipeline, drawPlan(refl(1), chainOf(4), random(0)));
    const walked: number[] = [];
    const spying = pipeline.with({});
    spying.denoise = (latents, options) => (walked.push(options.steps!.length), pipeline.denoise(latents, options));
    const early = { ...inputs, plan: { ...inputs.plan, steps: inputs.plan.steps.slice(1) } };
    const { trajectory, latentGradients } = await new AlignPropGradient(spying, reward, sampling).compute(early);
    expect(walked).toEqual([3]);
    expect(trajectory.latents).toHaveLength(4);
    expect(latentGradients.map((gradient) => gradient !== undefined)).toEqual([false, false, false, true]);
  });

  it('frees everything when a re-noised copy fails, and everything but the result otherwise', async () => {
    const inputs = await newInputs(pipeline, drawPlan(draftLV(2), chainOf(4), random(0)));
    let calls = 0;
    const failing: RewardFunction = (images, ...rest) => {
      if (++calls === 3) throw new Error('no reward');
      return reward(images, ...rest);
    };
    await expectNoLeaks(async () => {
      await expect(new AlignPropGradient(pipeline, failing, sampling).compute(inputs)).rejects.toThrow('no reward');
    });
    await expectNoLeaks(async () =>
      disposeTensors(await new AlignPropGradient(pipeline, reward, sampling).compute(inputs)),
    );
  });

  it('refuses a plan that does not fit the schedule', async () => {
    const inputs = await newInputs(pipeline, drawPlan(full(), chainOf(3), random(0)));
    await expect(new AlignPropGradient(pipeline, reward, sampling).compute(inputs)).rejects.toThrow(
      /plan got 3 entries and shows x_0, expected 4 entries\./,
    );
    const long = await newInputs(pipeline, drawPlan(refl(1), chainOf(5), random(0)));
    await expect(new AlignPropGradient(pipeline, reward, sampling).compute(long)).rejects.toThrow(
      /plan got 5 entries and shows predicted-x_0, expected 4 entries or fewer\./,
    );
  });
});

it.each(['full', 'draft-lv', 'drtune', 'flowbp-bridge', 'leapalign'] as const)(
  'AlignPropTrainer trains with %s, and repeats itself from the same seed',
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
