import { dispose, gather, mean, mul, reshape, tidy, type Tensor, type Variable } from '@tensorflow/tfjs-core';
import { trainable, type Engine } from '@alignprop/autograd-ext';
import { DDIMScheduler, StableDiffusionPipeline } from '@alignprop/diffusion';
import { applyLora } from '@alignprop/lora';
import { aesthetic, type RewardFunction } from '@alignprop/rewards';
import { beforeAll, describe, expect, it } from 'vitest';
import { engineNames, startEngine } from '../../../../fixtures/engines.js';
import { expectClose, fixtureJson, fixturePath, fixtureTensors, toNCHW, toNHWC } from '../../../../fixtures/index.js';
import { accumulate, globalNorm, type Gradients } from '../optim/gradients.js';
import { AlignPropGradient, type AlignPropGradients } from '../gradient/alignprop-gradient.js';
import { AdamW } from '../optim/adamw.js';
import { clipByGlobalNorm } from '../optim/clip-by-global-norm.js';
import { attachedStep, detachedStep, type DrawnPlan } from '../estimators/plans.js';

interface GoldenCase {
  base: string;
  batch: number;
  r: number;
  lora_alpha: number;
  steps: number;
  eta: number;
  cfg: number;
  trunc: ['fixed', number] | ['rand', number, number];
  reward: 'pattern' | 'aesthetic';
  scale?: number;
  opt: number;
  accum: number;
  prompts: string[][];
  negative_prompt: string;
  b_zero?: boolean;
  loss: number[];
  grad_norm: number[];
}
type Golden = Record<string, Tensor>;

const folders = ['alignprop-sd15', 'alignprop-sd2'] as const;
const cases = folders.flatMap((folder) =>
  Object.entries(fixtureJson<{ cases: Record<string, GoldenCase> }>(`${folder}/case.json`).cases).map(
    ([name, golden]) => ({ folder, name, golden }),
  ),
);
const options = { learningRate: 1e-3, beta1: 0.9, beta2: 0.999, weightDecay: 1e-4, epsilon: 1e-8 };
const row = (x: Tensor, i: number): Tensor => tidy(() => reshape(gather(x, [i]), x.shape.slice(1)));

/** The pipeline with TRL's scheduler and the adapter of the fixture. */
async function goldenPipeline(
  engine: Engine,
  { base, lora_alpha: alpha, b_zero }: GoldenCase,
  common: Golden,
): Promise<StableDiffusionPipeline> {
  const pipeline = await StableDiffusionPipeline.fromPretrained(fixturePath(`alignprop-sd15/${base}`), { engine });
  const adapted = Object.keys(common).flatMap((name) => /^(.*)\.lora_A\.weight$/.exec(name)?.[1] ?? []);
  const modules = Object.fromEntries(
    adapted.map((module) => {
      const [a, b] = [common[`${module}.lora_A.weight`]!, common[`${module}.lora_B.weight`]!];
      return [module, { kind: 'lora', a, b: b_zero ? mul(b, 0) : b, alpha } as const];
    }),
  );
  const params = await applyLora(pipeline.unet.params, { modules }, { trainable: true });
  return pipeline.with({
    unet: pipeline.unet.withParams(params),
    scheduler: DDIMScheduler.fromConfig(pipeline.scheduler.config),
  });
}

async function goldenReward({ reward, scale = 40 }: GoldenCase, common: Golden): Promise<RewardFunction> {
  if (reward === 'aesthetic')
    return aesthetic({ weights: fixturePath('reward-aesthetic/clip'), head: fixturePath('reward-aesthetic') });
  const pattern = toNHWC(common.pattern!);
  return (images) => mul(mean(mul(images, pattern), [1, 2, 3]), scale);
}

/** Step i is attached unless it is below the truncation, which TRL draws at every step in random mode. */
const goldenPlan = ({ trunc, steps }: GoldenCase, io: Golden, batch: number): DrawnPlan => ({
  steps: Array.from({ length: steps }, (_, i) => {
    const cut = trunc[0] === 'fixed' ? trunc[1] : io.randint!.dataSync()[batch * steps + i]!;
    return i >= cut ? attachedStep : detachedStep;
  }),
  shown: 'x_0',
  renoised: 0,
});

function checkFirstBatch(batch: AlignPropGradients, io: Golden): void {
  const { trajectory, latentGradients } = batch;
  expect(trajectory.steps.map(({ t }) => t)).toEqual([...io.timesteps!.dataSync()]);
  trajectory.latents.forEach((x, i) => expectClose(toNCHW(x), row(io.latents!, i), 1e-3, `latents ${i}`));
  if (io.images) expectClose(toNCHW(batch.images), io.images, 1e-3, 'images');
  if (io.grad_images) expectClose(toNCHW(batch.imageGradients), io.grad_images, 1e-3, 'gradient of the images');
  latentGradients.forEach((gradient, i) => {
    const expected = row(io.grad_latents!, i);
    // Before the earliest attached step torch has no gradient either: the fixture has zeros.
    if (gradient) expectClose(toNCHW(gradient), expected, 1e-3, `gradient of latents ${i}`);
    else
      expect(
        expected.dataSync().every((value) => value === 0),
        `gradient of latents ${i}`,
      ).toBe(true);
  });
}

const largest = (x: Tensor) => x.dataSync<'float32'>().reduce((most, value) => Math.max(most, Math.abs(value)), 0);

/**
 * Attention over a single position has weight 1 whatever q and k are, here in the middle of a UNet of four levels at
 * 8 × 8. Torch's gradients there are rounding noise, far below AdamW's epsilon: they have to be below one rounding of
 * the largest gradient.
 */
const rounding = 2 ** -23;
const isZero = (folder: string, path: string) =>
  folder === 'alignprop-sd15' && /^mid_block\..*\.attn1\.to_[qk]\./.test(path);

function checkGradients(actual: Gradients, expected: Golden, folder: string): void {
  expect(Object.keys(actual).sort()).toEqual(Object.keys(expected).sort());
  const scale = Math.max(...Object.values(expected).map(largest));
  for (const [path, gradient] of Object.entries(expected)) {
    if (!isZero(folder, path)) expectClose(actual[path]!, gradient, 1e-3, `gradient of ${path}`);
    else expect(Math.max(largest(actual[path]!), largest(gradient)), path).toBeLessThan(rounding * scale);
  }
}

/** Checks that 99 % of the values are within 2e-5, and after step 1 all whose gradient is not close to zero. */
function checkParameters(
  variables: Readonly<Record<string, Variable>>,
  io: Golden,
  step: number,
  gradients: Golden,
  folder: string,
): void {
  const prefix = `param_after_${step}.`;
  let [total, far] = [0, 0];
  for (const [name, expected] of Object.entries(io).filter(([key]) => key.startsWith(prefix))) {
    const path = name.slice(prefix.length);
    if (isZero(folder, path)) continue;
    const [actual, wanted, gradient] = [variables[path]!.dataSync(), expected.dataSync(), gradients[path]!.dataSync()];
    actual.forEach((value, i) => {
      const isFar = Math.abs(value - wanted[i]!) > 2e-5;
      total++;
      far += Number(isFar);
      if (step === 1 && Math.abs(gradient[i]!) > 1e-6)
        expect(isFar, `${name}[${i}] got ${value}, expected ${wanted[i]}`).toBe(false);
    });
  }
  expect(total).toBeGreaterThan(0);
  expect(far / total, `share of parameters off after step ${step}`).toBeLessThanOrEqual(0.01);
}

describe.each(engineNames)('AlignProp steps on %s', (engineName) => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await startEngine(engineName);
  });

  it.each(cases)(
    'equal those of TRL in $folder $name',
    async ({ folder, name, golden }) => {
      const common = await fixtureTensors(`${folder}/common.safetensors`);
      const io = await fixtureTensors(`${folder}/${name}.safetensors`);
      const pipeline = await goldenPipeline(engine, golden, common);
      const sampling = { numInferenceSteps: golden.steps, guidanceScale: golden.cfg, eta: golden.eta };
      const gradient = new AlignPropGradient(pipeline, await goldenReward(golden, common), sampling);
      const { promptEmbeds: negative } = await pipeline.encodePrompt([golden.negative_prompt]);
      expectClose(negative, common.neg_prompt_embed!, 1e-4, 'negative prompt');
      const variables = trainable(pipeline.unet.params);
      const optimizer = new AdamW(variables, options);
      let first: Golden = {};

      for (let step = 0; step < golden.opt; step++) {
        let sum: Gradients = {};
        for (let round = 0; round < golden.accum; round++) {
          const batch = step * golden.accum + round;
          const made = await gradient.compute({
            latents: toNHWC(row(io.initial_latents!, batch)),
            noise: ({ index }) => toNHWC(row(row(io.noise!, batch), index)),
            promptEmbeds: (await pipeline.encodePrompt(golden.prompts[batch]!)).promptEmbeds,
            negativePromptEmbeds: gather(negative, new Array(golden.batch).fill(0)),
            plan: goldenPlan(golden, io, batch),
            prompts: golden.prompts[batch]!,
            promptMetadata: [],
            lossScale: 1 / golden.accum,
          });
          if (batch === 0) checkFirstBatch(made, io);
          const rewards = [...made.rewards.dataSync()];
          rewards.forEach((reward, i) =>
            expectRelative(reward, io.rewards!.dataSync()[batch * golden.batch + i]!, `reward ${batch}.${i}`),
          );
          expectRelative(10 - rewards.reduce((a, b) => a + b) / golden.batch, golden.loss[batch]!, `loss ${batch}`);
          sum = accumulate(sum, made.params);
        }
        if (step === 0) {
          first = Object.fromEntries(
            Object.entries(io).flatMap(([key, value]) => (key.startsWith('grad.') ? [[key.slice(5), value]] : [])),
          );
          checkGradients(sum, first, folder);
        }
        const norm = globalNorm(sum);
        expect(Math.abs(norm.dataSync()[0]! - golden.grad_norm[step]!), `norm ${step}`).toBeLessThanOrEqual(
          1e-3 * golden.grad_norm[step]!,
        );
        optimizer.step(clipByGlobalNorm(sum, norm, 1));
        checkParameters(variables, io, step + 1, first, folder);
      }
      pipeline.dispose();
      optimizer.dispose();
      dispose([common, io, variables]);
    },
    600_000,
  );
});

const expectRelative = (actual: number, expected: number, label: string) =>
  expect(Math.abs(actual - expected), label).toBeLessThanOrEqual(1e-4 * Math.max(1, Math.abs(expected)));
