import { gather, mean, mul, reshape, tidy, type Tensor, type Tensor2D, type Tensor3D } from '@tensorflow/tfjs-core';
import { trainable, type Engine } from '@alignprop/autograd-ext';
import { DDIMScheduler, StableDiffusionPipeline } from '@alignprop/diffusion';
import { applyLora, type LowRankAdapter } from '@alignprop/lora';
import type { RewardFunction } from '@alignprop/rewards';
import { beforeAll, describe, expect, it } from 'vitest';
import { engineNames, startEngine } from '../../../../fixtures/engines.js';
import { expectClose, fixtureJson, fixturePath, fixtureTensors, toNCHW, toNHWC } from '../../../../fixtures/index.js';
import { attachedStep, detachedStep } from '../estimators/plans.js';
import { AlignPropGradient } from '../gradient/alignprop-gradient.js';
import { globalNorm } from '../optim/gradients.js';

interface GoldenCase {
  prompts: string[];
  negative_prompt: string;
  steps: number;
  eta: number;
  cfg: number;
  k: number;
  scale: number;
  r: number;
  lora_alpha: number;
  latent_shape: [number, number, number, number];
  grad_norm: number;
  loss: number;
}

const { cases } = fixtureJson<{ alignprop: { cases: Record<string, GoldenCase> } }>('sdxl-tiny/case.json').alignprop;
const rowOf = (x: Tensor, i: number): Tensor => tidy(() => reshape(gather(x, [i]), x.shape.slice(1)));

/** SDXL with the adapter that the goldens start from, and TRL's scheduler. */
async function goldenPipeline(engine: Engine, common: Record<string, Tensor>, { lora_alpha: alpha }: GoldenCase) {
  const pipeline = await StableDiffusionPipeline.fromPretrained(fixturePath('sdxl-tiny/model'), { engine });
  const modules = Object.keys(common).flatMap((key) => /^(.*)\.lora_A\.weight$/.exec(key)?.[1] ?? []);
  const adapters = modules.map((module): [string, LowRankAdapter] => [
    module,
    { kind: 'lora', a: common[`${module}.lora_A.weight`]!, b: common[`${module}.lora_B.weight`]!, alpha },
  ]);
  const params = await applyLora(pipeline.unet.params, { modules: Object.fromEntries(adapters) }, { trainable: true });
  return pipeline.with({
    unet: pipeline.unet.withParams(params),
    scheduler: DDIMScheduler.fromConfig(pipeline.scheduler.config),
  });
}

describe.each(engineNames)('One AlignProp step of SDXL on %s', (engineName) => {
  let engine: Engine;
  let common: Record<string, Tensor>;
  beforeAll(async () => {
    engine = await startEngine(engineName);
    common = await fixtureTensors('sdxl-tiny/alignprop/common.safetensors');
  });

  it.each(Object.keys(cases))("has the gradients of diffusers' chain: %s", async (name) => {
    const golden = cases[name]!;
    const io = await fixtureTensors(`sdxl-tiny/alignprop/${name}.safetensors`);
    const pipeline = await goldenPipeline(engine, common, golden);
    const reward: RewardFunction = (images) => mul(mean(mul(images, toNHWC(common.pattern!)), [1, 2, 3]), golden.scale);
    const batch = golden.prompts.length;
    const negative = await pipeline.encodeNegativePrompt(
      io.negative_embeds && golden.prompts.map(() => golden.negative_prompt),
      batch,
    );
    const encoding = await pipeline.encodePrompt(golden.prompts);
    expectClose(encoding.promptEmbeds, io.prompt_embeds as Tensor3D, 1e-4, 'prompt_embeds');
    expectClose(encoding.pooledPromptEmbeds!, io.pooled as Tensor2D, 1e-4, 'pooled');
    const [, , height, width] = golden.latent_shape.map((size) => size * pipeline.vaeScaleFactor);
    const sampling = { numInferenceSteps: golden.steps, guidanceScale: golden.cfg, eta: golden.eta };
    const { params, rewards, trajectory, images } = await new AlignPropGradient(pipeline, reward, sampling).compute({
      latents: toNHWC(io.initial_latents!),
      noise: ({ index }) => toNHWC(rowOf(io.noise!, index)),
      ...encoding,
      negativePromptEmbeds: negative.promptEmbeds,
      negativePooledPromptEmbeds: negative.pooledPromptEmbeds,
      timeIds: pipeline.timeIds({ batch, height, width })!,
      plan: {
        steps: Array.from({ length: golden.steps }, (_, i) =>
          i >= golden.steps - golden.k ? attachedStep : detachedStep,
        ),
        shown: 'x_0',
        renoised: 0,
      },
      prompts: golden.prompts,
      promptMetadata: [],
    });
    expect(trajectory.steps.map(({ t }) => t)).toEqual([...io.timesteps!.dataSync()]);
    expectClose(toNCHW(images), io.images!, 1e-3, 'images');
    const loss = 10 - mean(rewards).dataSync()[0]!;
    expect(Math.abs(loss - golden.loss)).toBeLessThanOrEqual(1e-4 * Math.max(1, Math.abs(golden.loss)));
    const expected = Object.entries(io).filter(([key]) => key.startsWith('grad.'));
    expect(Object.keys(params).sort()).toEqual(Object.keys(trainable(pipeline.unet.params)).sort());
    expect(expected.map(([key]) => key.slice('grad.'.length)).sort()).toEqual(Object.keys(params).sort());
    for (const [key, gradient] of expected) expectClose(params[key.slice('grad.'.length)]!, gradient, 1e-3, key);
    expect(globalNorm(params).dataSync()[0]! / golden.grad_norm).toBeCloseTo(1, 3);
  });
});
