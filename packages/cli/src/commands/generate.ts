import { basename, dirname } from 'node:path';
import type { Tensor4D } from '@tensorflow/tfjs-core';
import { Option, type Command } from 'commander';
import { precisions } from '@alignprop/autograd-ext';
import { writeFileAtomic } from '@alignprop/autograd-ext/weights';
import {
  encodePng,
  formatParameters,
  schedulerFor,
  schedulerNames,
  toUint8,
  type Annealing,
  type StableDiffusionPipeline,
} from '@alignprop/diffusion';
import { embeddedModel } from '../embedded-model.js';
import { imageNames, prepareFolder } from '../images/image-files.js';
import { applyAdapters } from '../options/apply-adapters.js';
import { precisionOf } from '../options/engine-options.js';
import { addPipelineOptions, loadPipeline, type ModelOptions } from '../options/model-options.js';
import { addLoraOptions, describeLoras, type LoraOptions } from '../options/lora-options.js';
import { collectValues, integerParser, parseNumber, parsePixels, parseScheduler } from '../options/option-parsers.js';
import { UsageError } from '../terminal/errors.js';
import { interruptible } from '../terminal/interrupt.js';
import { addOutputOptions, Output, type OutputOptions } from '../terminal/output.js';

interface GenerateOptions extends ModelOptions, LoraOptions, OutputOptions {
  loraAnneal?: number;
  prompt?: readonly string[];
  output: string;
  seed?: number;
  steps: number;
  guidanceScale: number;
  eta: number;
  negativePrompt: string;
  numImages: number;
  height?: number;
  width?: number;
  scheduler: string;
}

/** Adds the arguments, options and action of `alignprop generate`. */
export function defineCommand(command: Command): void {
  command
    .argument('[prompts...]', 'Prompts; several are generated as one batch.')
    .option('-p, --prompt <text>', 'A prompt, as an argument is; may be given several times.', collectValues);
  addPipelineOptions(command).addOption(
    new Option(
      '--precision <name>',
      'Precision of matmuls and convolutions; others than float32 need --backend tensorflow or, float16, a device ' +
        'other than cpu.',
    )
      .choices(precisions)
      .default('float32'),
  );
  addLoraOptions(command.optionsGroup('Adapter:'))
    .option(
      '--lora-anneal <n>',
      'Fade the adapter in over the denoising steps: its share is progress^n, so 1 is linear. ' +
        "Keeps more of the model's diversity; takes twice the time.",
      parseNumber,
    )
    .optionsGroup('Sampling:')
    .option(
      '--seed <n>',
      'Seed; gives the images that diffusers generates with torch.Generator().manual_seed(n). (default: random)',
      integerParser(0),
    )
    .option('--steps <n>', 'Number of denoising steps.', integerParser(1, 100_000), 50)
    .option('--guidance-scale <n>', 'Weight of classifier-free guidance; 1 is no guidance.', parseNumber, 7.5)
    .option('--eta <n>', 'Noise added at each step of ddim (1: as much as DDPM) and tcd, from 0 to 1.', parseNumber, 0)
    .option('--negative-prompt <text>', 'Negative prompt.', '')
    .option('--num-images <n>', 'Images per prompt.', integerParser(1, 10_000), 1)
    .option('--height <n>', "Height in pixels, a multiple of 8. (default: the model's)", parsePixels)
    .option('--width <n>', "Width in pixels, a multiple of 8. (default: the model's)", parsePixels)
    .addOption(
      new Option(
        '--scheduler <name>',
        `Scheduler: config (the model's own), a class of diffusers, or one of ${schedulerNames.join(', ')}.`,
      )
        .argParser(parseScheduler)
        .default('ddim'),
    );
  addOutputOptions(command)
    .option(
      '-o, --output <file>',
      'PNG file to write; the names of several images are numbered: image-1.png.',
      'image.png',
    )
    .addHelpText('after', examples)
    .action((prompts: string[], options: GenerateOptions) =>
      generate([...prompts, ...(options.prompt ?? [])], options),
    );
}

const examples = `
Examples:
  $ alignprop generate "crab" -o crab.png --seed 7 --steps 20 --guidance-scale 5
  $ alignprop generate "crab" --lora out/pytorch_lora_weights.safetensors:0.8
  $ alignprop generate "a watercolor fox" --model stable-diffusion-v1-5/stable-diffusion-v1-5 --num-images 4`;

async function generate(prompts: readonly string[], options: GenerateOptions): Promise<void> {
  if (prompts.length === 0)
    throw new UsageError(
      'generate: got no prompt, expected at least one. Give it in quotes: alignprop generate "crab".',
    );
  checkOptions(options);
  const { loraAnneal, steps, eta, scheduler } = options;
  const output = new Output(options);
  await prepareFolder(dirname(options.output));
  const base = withScheduler(await loadPipeline(options, output), scheduler);
  const pipeline = await applyAdapters(base, options, output);
  const sampler = pipeline.scheduler.config._class_name as string;
  if (eta > 0 && !samplersWithEta.includes(sampler)) output.warn(`--eta has no effect with ${sampler}.`);
  const settings = {
    numInferenceSteps: steps,
    guidanceScale: options.guidanceScale,
    eta,
    negativePrompt: options.negativePrompt,
    numImagesPerPrompt: options.numImages,
    seed: options.seed,
    height: options.height,
    width: options.width,
    annealed: annealing(base, loraAnneal),
  };
  const generated = await interruptible(
    (signal) => {
      const progress = output.progress('Generating', pipeline.scheduler.timesteps(steps).length);
      const onStep = ({ step }: { step: { index: number } }) => progress.update(step.index + 1);
      return pipeline.generate(prompts, { ...settings, signal, onStep }).finally(() => progress.stop());
    },
    () => output.info('Stopping.'),
  );
  const { images, latents, seed, truncated } = generated;
  latents.dispose();
  for (const text of truncated)
    if (text) output.warn(`a prompt is too long for the text encoder: '${text.trim()}' was left out.`);
  await writeImages({ images, prompts, seed: seed!, sampler }, options, output);
  images.dispose();
}

/** @throws UsageError if options contradict one another, or the output is not a PNG file */
function checkOptions({ precision = 'float32', output, lora, loraAnneal, ...options }: GenerateOptions): void {
  const mixed = ({ float32: 'no', float16: 'fp16', bfloat16: 'bf16' } as const)[precision];
  if (precisionOf(mixed, options) !== precision)
    throw new UsageError(
      `--precision: got ${precision} for ${options.device ?? options.engine ?? 'cpu'}, expected float32 there. ` +
        'Give --device webgpu or another device with float16, or --backend tensorflow.',
    );
  if (!/\.png$/i.test(output)) throw new UsageError(`--output: got '${output}', expected a name that ends in .png.`);
  if (loraAnneal !== undefined && lora === undefined)
    throw new UsageError(`--lora-anneal: got ${loraAnneal} without an adapter. Give --lora <adapter>.`);
  if (loraAnneal !== undefined && loraAnneal <= 0)
    throw new UsageError(`--lora-anneal: got ${loraAnneal}, expected a number above 0.`);
}

const annealing = ({ unet }: StableDiffusionPipeline, power?: number): Annealing | undefined =>
  power === undefined ? undefined : { from: unet.params, share: (progress) => progress ** power };

const samplersWithEta = ['DDIMScheduler', 'TCDScheduler'];

const withScheduler = (pipeline: StableDiffusionPipeline, name: string): StableDiffusionPipeline =>
  name === 'config' ? pipeline : pipeline.with({ scheduler: schedulerFor(name, pipeline.scheduler.config) });

interface Generated {
  /** `[B, H, W, 3]` in [0, 1]. */
  images: Tensor4D;
  prompts: readonly string[];
  seed: number;
  /** The class of the scheduler. */
  sampler: string;
}

/** Writes each image to a PNG file that also holds its settings, and prints its path. */
async function writeImages(
  { images, prompts, seed, sampler }: Generated,
  options: GenerateOptions,
  output: Output,
): Promise<void> {
  const [count, height, width] = images.shape;
  const { lora, loraAnneal, numImages, model = embeddedModel.name } = options;
  const { steps, guidanceScale, eta, negativePrompt } = options;
  const settings = { negativePrompt, steps, sampler, guidanceScale, eta, seed, height, width, model: basename(model) };
  for (const [i, data] of (await toUint8(images)).entries()) {
    const prompt = prompts[Math.floor(i / numImages)]!;
    // The noise of an image depends on its position in the batch.
    const extra = {
      ...(lora && { Lora: describeLoras(options) }),
      ...(loraAnneal !== undefined && { 'Lora anneal': loraAnneal }),
      ...(count > 1 && { 'Batch size': count, 'Batch pos': i }),
    };
    const path = imageNames(options.output, count)[i]!;
    const parameters = formatParameters({ prompt, ...settings, extra });
    await writeFileAtomic(path, encodePng(data, { height, width, parameters }));
    output.result({ event: 'image', path, prompt, seed, height, width }, `${path}  ${prompt}, seed ${seed}`);
  }
}
