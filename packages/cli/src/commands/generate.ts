import { basename, dirname } from 'node:path';
import type { Tensor4D } from '@tensorflow/tfjs-core';
import { InvalidArgumentError, Option, type Command } from 'commander';
import { precisions } from '@alignprop/autograd-ext';
import { writeFileAtomic } from '@alignprop/autograd-ext/weights';
import {
  DDIMScheduler,
  encodePng,
  formatParameters,
  PNDMScheduler,
  toUint8,
  type Annealing,
  type StableDiffusionPipeline,
} from '@alignprop/diffusion';
import { applyLora, loadLora } from '@alignprop/lora';
import { parseNumber } from '../options/config-options.js';
import { embeddedModel } from '../embedded-model.js';
import { hasFloat16 } from '../options/engine-options.js';
import { UsageError } from '../terminal/errors.js';
import { imageNames, prepareFolder } from '../images/image-files.js';
import { interruptible } from '../terminal/interrupt.js';
import { loadPipeline, modelOptions, type ModelOptions } from '../options/load-pipeline.js';
import { Output, outputOptions, type OutputOptions } from '../terminal/output.js';

interface GenerateOptions extends ModelOptions, OutputOptions {
  lora?: string;
  loraScale: number;
  loraAnneal?: number;
  output: string;
  seed?: number;
  steps: number;
  guidanceScale: number;
  eta: number;
  negativePrompt: string;
  numImages: number;
  height?: number;
  width?: number;
  scheduler: 'ddim' | 'pndm' | 'config';
}

/** Gives `alignprop generate` its options and what it does. */
export function defineGenerate(command: Command): void {
  modelOptions(command.argument('<prompts...>', 'What to draw; several prompts are drawn as one batch.'))
    .addOption(
      new Option('--precision <name>', 'What products are computed in; float16 needs a device other than cpu.')
        .choices(precisions)
        .default('float32'),
    )
    .option(
      '--lora <file>',
      "Adapter: a .safetensors file in diffusers', peft's or kohya's layout, or a folder with one.",
      once,
    )
    .option('--lora-scale <n>', 'Strength of the adapter.', parseNumber, 1)
    .option(
      '--lora-anneal <n>',
      "Begin without the adapter and end with it: its share is progress to the power of n, linear for 1. Keeps more of the model's variety; twice the time.",
      parseNumber,
    )
    .optionsGroup('Sampling:')
    .option(
      '--seed <n>',
      'The same pictures as torch.Generator().manual_seed(n) in diffusers. (default: drawn at random)',
      integer(0),
    )
    .option('--steps <n>', 'Denoising steps.', integer(1), 50)
    .option('--guidance-scale <n>', 'Weight of the prompt; 1 is without guidance.', parseNumber, 7.5)
    .option('--eta <n>', '0: no noise is added on the way, to 1: as much as in DDPM.', parseNumber, 0)
    .option('--negative-prompt <text>', 'What not to draw.', '')
    .option('--num-images <n>', 'Images of each prompt.', integer(1), 1)
    .option('--height <n>', "In pixels, a multiple of 8. (default: the model's)", pixels)
    .option('--width <n>', "In pixels, a multiple of 8. (default: the model's)", pixels)
    .addOption(
      new Option('--scheduler <name>', "The denoising rule; config is the model's own.")
        .choices(['ddim', 'pndm', 'config'])
        .default('ddim'),
    );
  outputOptions(command)
    .option('-o, --output <file>', 'PNG file; several images get numbers before the .png.', 'image.png')
    .addHelpText('after', examples)
    .action((prompts: string[], options: GenerateOptions) => generate(prompts, options));
}

const examples = `
Examples:
  $ alignprop generate "crab" -o crab.png --seed 7 --steps 20 --guidance-scale 5
  $ alignprop generate "crab" --lora out/pytorch_lora_weights.safetensors --lora-scale 0.8
  $ alignprop generate "a watercolor fox" --model stable-diffusion-v1-5/stable-diffusion-v1-5 --num-images 4`;

async function generate(prompts: readonly string[], options: GenerateOptions): Promise<void> {
  if (options.precision === 'float16' && !hasFloat16(options))
    throw new UsageError(
      `--precision: got float16 for ${options.device ?? options.engine ?? 'cpu'}, expected float32 there. Give --device webgpu or another that has float16.`,
    );
  const { lora, loraScale, steps, guidanceScale, eta, negativePrompt, numImages, seed, height, width } = options;
  if (!/\.png$/i.test(options.output))
    throw new UsageError(`--output: got '${options.output}', expected a name that ends in .png.`);
  if (options.loraAnneal !== undefined && (lora === undefined || options.loraAnneal <= 0))
    throw new UsageError(
      `--lora-anneal: got ${options.loraAnneal}${lora === undefined ? ' without an adapter. Give --lora <file>' : ', expected a number above 0'}.`,
    );
  const output = new Output(options);
  await prepareFolder(dirname(options.output));
  const loaded = withScheduler(await loadPipeline(options, output), options.scheduler);
  const pipeline = lora === undefined ? loaded : await withLora(loaded, lora, loraScale);
  if (eta > 0 && !(pipeline.scheduler instanceof DDIMScheduler))
    output.warn(`--eta has no effect with ${pipeline.scheduler.config._class_name as string}.`);
  const {
    images,
    latents,
    seed: usedSeed,
    truncated,
  } = await interruptible(
    (signal) => {
      const progress = output.progress('Drawing', pipeline.scheduler.timesteps(steps).length);
      const settings = {
        numInferenceSteps: steps,
        guidanceScale,
        eta,
        negativePrompt,
        numImagesPerPrompt: numImages,
        seed,
        height,
        width,
        annealed: annealing(loaded, options.loraAnneal),
      };
      return pipeline
        .generate(prompts, { ...settings, signal, onStep: ({ step }) => progress.update(step.index + 1) })
        .finally(() => progress.stop());
    },
    () => output.info('Stopping.'),
  );
  latents.dispose();
  for (const text of truncated)
    if (text) output.warn(`the text encoder takes no more words: '${text.trim()}' was left out.`);
  await writeImages(images, usedSeed!, pipeline, prompts, options, output);
  images.dispose();
}

const annealing = ({ unet }: StableDiffusionPipeline, power?: number): Annealing | undefined =>
  power === undefined ? undefined : { from: unet.params, share: (progress) => progress ** power };

const withScheduler = (
  pipeline: StableDiffusionPipeline,
  name: GenerateOptions['scheduler'],
): StableDiffusionPipeline => {
  const { config } = pipeline.scheduler;
  if (name === 'config') return pipeline;
  return pipeline.with({
    scheduler:
      name === 'ddim'
        ? DDIMScheduler.fromConfig(config)
        : PNDMScheduler.fromConfig({ ...config, skip_prk_steps: true }),
  });
};

async function withLora(
  pipeline: StableDiffusionPipeline,
  file: string,
  scale: number,
): Promise<StableDiffusionPipeline> {
  const { unet, textEncoder } = pipeline;
  const state = await loadLora(file);
  const adapted = pipeline.with({ unet: unet.withParams(await applyLora(unet.params, state, { scale })) });
  if (!state.components?.includes('text_encoder')) return adapted;
  const params = await applyLora(textEncoder.params, await loadLora(file, { prefix: 'text_encoder' }), { scale });
  return adapted.with({ textEncoder: textEncoder.withParams(params) });
}

async function writeImages(
  images: Tensor4D,
  seed: number,
  pipeline: StableDiffusionPipeline,
  prompts: readonly string[],
  options: GenerateOptions,
  output: Output,
): Promise<void> {
  const [count, height, width] = images.shape;
  const {
    steps,
    guidanceScale,
    eta,
    negativePrompt,
    numImages,
    lora,
    loraScale,
    loraAnneal,
    model = embeddedModel.name,
  } = options;
  const sampler = pipeline.scheduler.config._class_name as string;
  for (const [i, data] of (await toUint8(images)).entries()) {
    const prompt = prompts[Math.floor(i / numImages)]!;
    // The noise of an image depends on its place in the batch.
    const extra = {
      ...(lora && { Lora: `${basename(lora)}: ${loraScale}` }),
      ...(loraAnneal !== undefined && { 'Lora anneal': loraAnneal }),
      ...(count > 1 && { 'Batch size': count, 'Batch pos': i }),
    };
    const parameters = formatParameters({
      prompt,
      negativePrompt,
      steps,
      sampler,
      guidanceScale,
      eta,
      seed,
      height,
      width,
      model: basename(model),
      extra,
    });
    const path = imageNames(options.output, count)[i]!;
    await writeFileAtomic(path, encodePng(data, { height, width, parameters }));
    output.result({ event: 'image', path, prompt, seed, height, width }, `${path}  ${prompt}, seed ${seed}`);
  }
}

const integer =
  (min: number) =>
  (text: string): number => {
    const value = parseNumber(text);
    if (Number.isInteger(value) && value >= min) return value;
    throw new InvalidArgumentError(`Expected an integer of at least ${min}.`);
  };

function pixels(text: string): number {
  const value = integer(8)(text);
  if (value % 8 === 0) return value;
  throw new InvalidArgumentError(`Expected a multiple of 8, such as ${Math.round(value / 8) * 8}.`);
}

function once(value: string, previous: string | undefined): string {
  if (previous === undefined) return value;
  throw new InvalidArgumentError('Only one adapter can be used at a time.');
}
