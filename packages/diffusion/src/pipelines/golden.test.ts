// Pictures of SDXL, few-step and latent consistency models against diffusers.
import { cpSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { gather, reshape, slice, tensor2d, zeros, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import type { Engine } from '@alignprop/autograd-ext';
import { engineNames, startEngine } from '../../../../fixtures/engines.js';
import { expectClose, fixtureJson, fixturePath, fixtureTensors, toNCHW, toNHWC } from '../../../../fixtures/index.js';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { schedulerFor } from '../schedulers/create-scheduler.js';
import type { GenerateOptions } from './generate-options.js';
import { StableDiffusionPipeline } from './stable-diffusion.js';

interface Run {
  prompts: string[];
  steps: number;
  guidance_scale: number;
  eta?: number;
  scheduler?: string;
  latent_shape: [number, number, number, number];
  original_inference_steps?: number;
  [option: string]: unknown;
}

const folder = temporaryFolder();
const model = fixturePath('sdxl-tiny/model');

/** A copy of a model with files laid over it. */
function overlaid(name: string, base: string, overlay: string): string {
  const target = join(folder, name);
  if (existsSync(target)) return target;
  cpSync(fixturePath(base), target, { recursive: true });
  cpSync(fixturePath(overlay), target, { recursive: true });
  return target;
}

/** Opens models on an engine, each path once. */
function modelsOn(engine: () => Engine): (path: string) => Promise<StableDiffusionPipeline> {
  const opened = new Map<string, Promise<StableDiffusionPipeline>>();
  return (path) => {
    const model = opened.get(path) ?? StableDiffusionPipeline.fromPretrained(path, { engine: engine() });
    opened.set(path, model);
    return model;
  };
}

const row = (x: Tensor, i: number) => reshape(gather(x, [i]), x.shape.slice(1));
const runsOf = (runs: Record<string, Run>): (Run & { label: string })[] =>
  Object.entries(runs).map(([label, run]) => ({ label, ...run }));

/** Draws what a run drew, from its latents and noise. */
async function draw(pipeline: StableDiffusionPipeline, run: Run, golden: (name: string) => Tensor | undefined) {
  const noise = golden('noise');
  const [, , height, width] = run.latent_shape.map((size) => size * pipeline.vaeScaleFactor);
  const options: Record<string, unknown> = {
    numInferenceSteps: run.steps,
    guidanceScale: run.guidance_scale,
    guidanceRescale: run.guidance_rescale,
    eta: run.eta,
    latents: toNHWC(golden('latents0')!),
    ...(noise && { noise: ({ index }: { index: number }) => toNHWC(row(noise, index)) }),
    height,
    width,
    negativePrompt: run.negative_prompt,
    prompt2: run.prompt_2,
    negativePrompt2: run.negative_prompt_2,
    originalSize: run.original_size,
    targetSize: run.target_size,
    cropsCoordsTopLeft: run.crops_coords_top_left,
    negativeOriginalSize: run.negative_original_size,
    negativeTargetSize: run.negative_target_size,
    negativeCropsCoordsTopLeft: run.negative_crops_coords_top_left,
    clipSkip: run.clip_skip,
  };
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  const { images, latents } = await pipeline.generate(run.prompts, {
    ...(given as GenerateOptions),
    outputType: 'tensor',
  });
  const expected = golden('latents')!;
  expectClose(latents, toNHWC(row(expected, expected.shape[0]! - 1)), 1e-3, 'latents');
  expectClose(toNCHW(images), golden('image')!, 1e-3, 'images');
}

describe.each(engineNames)('StableDiffusionPipeline on %s', (name) => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await startEngine(name);
  });
  afterAll(() => engine.dispose());

  const open = modelsOn(() => engine);
  const withScheduler = (pipeline: StableDiffusionPipeline, { scheduler, original_inference_steps }: Run) =>
    scheduler === undefined && original_inference_steps === undefined
      ? pipeline
      : pipeline.with({
          scheduler: schedulerFor(scheduler ?? 'LCMScheduler', {
            ...pipeline.scheduler.config,
            ...(original_inference_steps && { original_inference_steps }),
          }),
        });

  it('encodes prompts with both text encoders of SDXL', async () => {
    const { prompts } = fixtureJson<{ prompts: string[] }>('sdxl-tiny/case.json');
    const golden = await fixtureTensors('sdxl-tiny/text.safetensors');
    const pipeline = await open(model);
    const { promptEmbeds, pooledPromptEmbeds } = await pipeline.encodePrompt(prompts);
    const [first, second] = [golden.penultimate_1!, golden.penultimate_2!];
    const widths = [first.shape[2]!, second.shape[2]!];
    expect(promptEmbeds.shape).toEqual([prompts.length, 77, widths[0]! + widths[1]!]);
    expectClose(slice(promptEmbeds, [0, 0, 0], [-1, -1, widths[0]!]), first, 1e-4, 'first');
    expectClose(slice(promptEmbeds, [0, 0, widths[0]!], [-1, -1, widths[1]!]), second, 1e-4, 'second');
    expectClose(pooledPromptEmbeds!, golden.text_embeds_2!, 1e-4, 'pooled');
    const negative = await pipeline.encodeNegativePrompt(['bad'], 1);
    expectClose(negative.promptEmbeds, golden.negative_embeds_bad!, 1e-4, 'negative');
    expectClose(negative.pooledPromptEmbeds!, golden.negative_pooled_bad!, 1e-4, 'negative pooled');
  });

  it.each(runsOf(fixtureJson<{ inference: Record<string, Run> }>('sdxl-tiny/case.json').inference))(
    'draws with SDXL as diffusers does: $label',
    async (run) => {
      const golden = await fixtureTensors('sdxl-tiny/inference.safetensors');
      const pipeline = withScheduler(await open(model), run);
      await draw(pipeline, run, (part) => golden[`${run.label}.${part}`]);
    },
  );

  it.each(runsOf(fixtureJson<{ turbo: { runs: Record<string, Run> } }>('sdxl-tiny/case.json').turbo.runs))(
    'draws with a few-step model as diffusers does: $label',
    async (run) => {
      const golden = await fixtureTensors('sdxl-tiny/turbo/io.safetensors');
      const kind = run.label.split('.')[0]!;
      const base = kind === 'sd-turbo' ? 'sd2-tiny/model' : 'sdxl-tiny/model';
      const pipeline = await open(overlaid(kind, base, `sdxl-tiny/turbo/${kind}`));
      await draw(withScheduler(pipeline, run), run, (part) => golden[`${run.label}.${part}`]);
    },
  );

  it.each(runsOf(fixtureJson<{ runs: Record<string, Run> }>('lcm/case.json').runs))(
    'draws with a latent consistency model as diffusers does: $label',
    async (run) => {
      const golden = await fixtureTensors('lcm/pipeline.safetensors');
      const pipeline = await open(overlaid('lcm', 'sd15-tiny/model', 'lcm/overlay'));
      await draw(withScheduler(pipeline, run), run, (part) => golden[`${run.label}.${part}`]);
    },
  );

  it('gives SDXL the sizes of images', async () => {
    const golden = await fixtureTensors('sdxl-tiny/inference.safetensors');
    const pipeline = await open(model);
    const sizes = { originalSize: [96, 64], cropsCoordsTopLeft: [4, 12] } as const;
    const timeIds = pipeline.timeIds({ batch: 2, height: 32, width: 48 }, sizes)!;
    expectClose(timeIds, golden['euler_cfg7.5_negative_wide.time_ids']!, 0, 'time_ids');
    expectClose(pipeline.timeIds({ batch: 1, height: 8, width: 16 })!, tensor2d([[8, 16, 0, 0, 8, 16]]), 0, 'default');
  });
});

interface ImageCase {
  model: string;
  scheduler: string;
  seed: number;
  prompt: string | string[];
  negative_prompt?: string | string[];
  num_inference_steps: number;
  strength: number;
  guidance_scale: number;
  num_images_per_prompt?: number;
  eta?: number;
  scheduler_options?: Record<string, unknown>;
}

const { cases: imageCases } = fixtureJson<{ cases: Record<string, ImageCase> }>('image-to-image/case.json');

describe.each(engineNames)('an image to start from on %s', (name) => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await startEngine(name);
  });
  afterAll(() => engine.dispose());
  const open = modelsOn(() => engine);

  const isSingleStep = ([, { scheduler }]: [string, ImageCase]) => /^(DDIM|Euler)/.test(scheduler);
  // The steps of the other schedulers are the same functions on every engine.
  const drawn = Object.entries(imageCases).filter((entry) => name === 'wasm' || isSingleStep(entry));

  it.each(drawn)('is drawn over as diffusers does: %s', async (label, golden) => {
    const io = await fixtureTensors('image-to-image/io.safetensors');
    const folder = golden.model === 'lcm' ? overlaid('lcm-image', 'sd15-tiny/model', 'lcm/overlay') : undefined;
    const base = await open(folder ?? fixturePath(golden.model));
    const config = { ...base.scheduler.config, ...golden.scheduler_options };
    const pipeline = base.with({ scheduler: schedulerFor(golden.scheduler, config) });
    const { images } = await pipeline.generate(golden.prompt, {
      outputType: 'tensor',
      image: toNHWC(io[`${label}.image`]!),
      strength: golden.strength,
      seed: golden.seed,
      numInferenceSteps: golden.num_inference_steps,
      guidanceScale: golden.guidance_scale,
      negativePrompt: golden.negative_prompt,
      numImagesPerPrompt: golden.num_images_per_prompt,
      eta: golden.eta,
    });
    expectClose(toNCHW(images), io[`${label}.result`]!, 1e-3, label);
  });

  it('is refused with sizes, strengths and schedulers that do not fit', async () => {
    const pipeline = await open(fixturePath('sd2-tiny/model'));
    const image = zeros([1, 16, 24, 3]) as Tensor4D;
    const refusal = (options: GenerateOptions, from = pipeline) =>
      expect(from.generate('a', { image, numInferenceSteps: 2, ...options })).rejects;
    await refusal({ height: 32 }).toThrow(/height got 32 for an image of 16, expected the same/);
    await refusal({ strength: 0 }).toThrow(/strength got 0, expected a number above 0 up to 1/);
    await refusal({ strength: 0.2 }).toThrow(/strength got 0.2, which leaves none of 2 steps/);
    await refusal({ image: undefined, strength: 0.5 }).toThrow(/strength got 0.5 without an image/);
    await refusal({ image: zeros([2, 16, 24, 3]) as Tensor4D }).toThrow(/image got shape \[2, 16, 24, 3\]/);
    const scheduler = schedulerFor('PNDMScheduler', { ...pipeline.scheduler.config, skip_prk_steps: false });
    const rungeKutta = refusal({ numInferenceSteps: 8, strength: 0.5 }, pipeline.with({ scheduler }));
    await rungeKutta.toThrow(/PNDMScheduler: skip_prk_steps got false for a chain that starts in the middle/);
    const consistency = await open(overlaid('lcm-image', 'sd15-tiny/model', 'lcm/overlay'));
    const ddim = consistency.with({ scheduler: schedulerFor('ddim', consistency.scheduler.config) });
    await refusal({}, ddim).toThrow(/consistency model with DDIMScheduler, expected LCMScheduler/);
    await refusal({ numInferenceSteps: 9, strength: 0.1 }, consistency).toThrow(/expected an integer from 1 to .* = 5/);
    image.dispose();
  });
});
