import { dispose, unstack, type Tensor, type Tensor3D, type Tensor4D } from '@tensorflow/tfjs-core';
import type { Engine } from '@alignprop/autograd-ext';
import { LCMScheduler, StableDiffusionPipeline, unet2DCondition } from '@alignprop/diffusion';
import { applyLora, loadLora, loraTensors } from '@alignprop/lora';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { engineNames, startEngine } from '../../../../fixtures/engines.js';
import { expectClose, fixtureJson, fixturePath, fixtureTensors, toNCHW, toNHWC } from '../../../../fixtures/index.js';

// An acceleration adapter (LCM-LoRA) upon Stable Diffusion with the scheduler of latent consistency models.

interface Run {
  readonly prompt: string;
  readonly negative_prompt: string | null;
  readonly steps: number;
  readonly guidance_scale: number;
  readonly lora_scale: number;
}

const { lora: golden } = fixtureJson<{ lora: { runs: Record<string, Run>; n_modules: number } }>('lcm/case.json');

describe.each(engineNames)('an LCM-LoRA on %s', (name) => {
  let engine: Engine;
  let base: StableDiffusionPipeline;
  let io: Record<string, Tensor>;
  beforeAll(async () => {
    engine = await startEngine(name);
    const pipeline = await StableDiffusionPipeline.fromPretrained(fixturePath('sd15-tiny/model'), { engine });
    base = pipeline.with({ scheduler: LCMScheduler.fromConfig(pipeline.scheduler.config) });
    io = await fixtureTensors('lcm/lora/io.safetensors');
  });
  afterAll(() => engine.dispose());

  const adapted = async (scale: number) => {
    const adapter = await loadLora(fixturePath('lcm/lora/pytorch_lora_weights.safetensors'));
    expect(Object.keys(adapter.modules)).toHaveLength(golden.n_modules);
    return base.withParams({ unet: await applyLora(base.unet.params, adapter, { scale }) });
  };

  it('has the output and the gradient of the UNet', async () => {
    const { unet, params } = await adapted(1);
    const vjp = engine.compileVjp(
      (weights, sample, timestep, context) =>
        unet2DCondition(unet.config, weights, sample as Tensor4D, timestep!, context as Tensor3D),
      { wrt: [0] },
    );
    const { value, inputs } = await vjp(
      unet.params,
      [toNHWC(io.sample!), io.timestep!, io.encoder_hidden_states!],
      toNHWC(io.R!),
    );
    expectClose(toNCHW(value), io.out!, 1e-4, 'out');
    expectClose(toNCHW(inputs[0]!), io.grad_sample!, 1e-3, 'grad_sample');
    dispose(loraTensors(params.unet));
  });

  it.each(Object.entries(golden.runs))('draws as diffusers does: %s', async (label, run) => {
    const pipeline = await adapted(run.lora_scale);
    const noises = unstack(io[`${label}.noise`]!);
    const drawn = await pipeline.generate(run.prompt, {
      outputType: 'tensor',
      negativePrompt: run.negative_prompt ?? undefined,
      numInferenceSteps: run.steps,
      guidanceScale: run.guidance_scale,
      latents: toNHWC(io[`${label}.latents0`]!),
      noise: ({ index }) => toNHWC(noises[index]!),
    });
    const expected = unstack(io[`${label}.latents`]!).at(-1)!;
    expectClose(toNCHW(drawn.latents), expected, 1e-3, 'latents');
    expectClose(toNCHW(drawn.images), io[`${label}.image`]!, 1e-3, 'image');
    dispose([drawn.images, drawn.latents, loraTensors(pipeline.params.unet!)]);
  });
});
