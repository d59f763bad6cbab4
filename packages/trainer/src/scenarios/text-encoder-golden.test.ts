// The gradient of adapters of SDXL's two text encoders against torch.
import { clone, dispose, mean, mul, zeros, type Tensor } from '@tensorflow/tfjs-core';
import type { Params } from '@alignprop/autograd-ext';
import { record } from '@alignprop/autograd-ext/outside';
import { DDIMScheduler, StableDiffusionPipeline } from '@alignprop/diffusion';
import { applyLora, loraTensors } from '@alignprop/lora';
import { describe, expect, it } from 'vitest';
import { engineNames, startEngine } from '../../../../fixtures/engines.js';
import { expectClose, fixtureJson, fixturePath, fixtureTensors, toNHWC } from '../../../../fixtures/index.js';
import { attachedStep } from '../estimators/plans.js';
import { AlignPropGradient } from '../gradient/alignprop-gradient.js';

interface GoldenCase {
  prompts: string[];
  negative_prompts: string[];
  steps: number;
  guidance_scale: number;
  scale: number;
  alpha: number;
}
const golden = fixtureJson<GoldenCase>('sdxl-text-lora/case.json');

/** Applies the adapters of the fixture to the text encoders, as variables. */
async function withAdapters(
  pipeline: StableDiffusionPipeline,
  io: Readonly<Record<string, Tensor>>,
): Promise<StableDiffusionPipeline> {
  const params = record<Params>();
  for (const part of ['text_encoder', 'text_encoder_2'] as const) {
    const pattern = new RegExp(`^adapter\\.${part}\\.(.*)\\.lora_A\\.weight$`);
    const modules = Object.keys(io).flatMap((name) => {
      const module = pattern.exec(name)?.[1];
      if (!module) return [];
      const [a, b] = ['A', 'B'].map((factor) => io[`adapter.${part}.${module}.lora_${factor}.weight`]!);
      return [[module, { kind: 'lora', a: a!, b: b!, alpha: golden.alpha }] as const];
    });
    const tree = pipeline.params[part]!;
    params[part] = await applyLora(tree, { modules: Object.fromEntries(modules) }, { trainable: true });
  }
  return pipeline.withParams(params);
}

describe.each(engineNames.filter((name) => name !== 'cpu'))('training both text encoders of SDXL on %s', (name) => {
  it('has the gradient that torch computes', async () => {
    const engine = await startEngine(name);
    const io = await fixtureTensors('sdxl-text-lora/io.safetensors');
    const base = await StableDiffusionPipeline.fromPretrained(fixturePath('sdxl-tiny/model'), { engine });
    const pipeline = (await withAdapters(base, io)).with({
      scheduler: DDIMScheduler.fromConfig(base.scheduler.config),
    });
    const pattern = toNHWC(io.pattern!);
    const { steps, scale, prompts, negative_prompts: negativePrompts, guidance_scale: guidanceScale } = golden;
    const gradient = new AlignPropGradient(pipeline, (images) => mul(mean(mul(images, pattern), [1, 2, 3]), scale), {
      numInferenceSteps: steps,
      guidanceScale,
      eta: 0,
    });
    const negative = await pipeline.encodeNegativePrompt(negativePrompts, prompts.length);
    const latents = toNHWC(io.latents!);
    const [, height, width] = pattern.shape;
    const { params, rewards } = await gradient.compute({
      latents,
      ...(await pipeline.encodePrompt(prompts)),
      negativePromptEmbeds: negative.promptEmbeds,
      negativePooledPromptEmbeds: negative.pooledPromptEmbeds,
      timeIds: pipeline.timeIds({ batch: prompts.length, height, width }),
      negativePrompts,
      noise: () => clone(zeros(latents.shape)),
      plan: { steps: Array(steps).fill(attachedStep), shown: 'x_0', renoised: 0 },
      prompts,
      promptMetadata: prompts.map(() => undefined),
    });
    expectClose(rewards, io.rewards!, 1e-3, 'rewards');
    const expected = Object.entries(io).filter(([path]) => path.startsWith('grad.'));
    expect(Object.keys(params).sort()).toEqual(expected.map(([path]) => path.slice('grad.'.length)).sort());
    for (const [path, value] of expected) expectClose(params[path.slice('grad.'.length)]!, value, 1e-3, path);
    for (const tree of Object.values(pipeline.params)) dispose(loraTensors(tree as Params));
    engine.dispose();
  });
});
