import { dirname } from 'node:path';
import { Option, type Command } from 'commander';
import { resizeUint8 } from '@alignprop/autograd-ext';
import {
  modelKind,
  schedulerFor,
  schedulerNames,
  type Annealing,
  type GenerateOptions as DrawOptions,
  type GuidanceInterval,
  type StableDiffusionPipeline,
  type StepProgress,
} from '@alignprop/diffusion';
import { prepareFolder } from '../images/image-files.js';
import { readImage } from '../images/read-image.js';
import { applyAdapters } from '../options/apply-adapters.js';
import { precisions, type MixedPrecision } from '../options/engine-options.js';
import { otherNames } from '../options/flags.js';
import { addMoreHelp } from '../options/help.js';
import { addPipelineOptions, loadPipeline, type ModelOptions } from '../options/model-options.js';
import { addLoraOptions, type LoraOptions } from '../options/lora-options.js';
import {
  collectValues,
  integerParser,
  parseInterval,
  parseNumber,
  parsePixels,
  parseScheduler,
} from '../options/option-parsers.js';
import { addColumnOptions, promptFormats } from '../options/prompt-options.js';
import { UsageError } from '../terminal/errors.js';
import { interruptible } from '../terminal/interrupt.js';
import { addOutputOptions, Output, type OutputOptions } from '../terminal/output.js';
import { ImageWriter, type ImageOptions } from './image-writer.js';
import { promptBatches, type BatchOptions, type PromptBatch } from './prompt-batches.js';

interface GenerateOptions extends ModelOptions, LoraOptions, BatchOptions, ImageOptions, OutputOptions {
  prompt?: readonly string[];
  scheduler?: string;
  steps?: number;
  guidanceScale?: number;
  guidanceInterval?: GuidanceInterval;
  eta: number;
  clipSkip: number;
  numImages: number;
  height?: number;
  width?: number;
  longPrompts: boolean;
  image?: string;
  strength?: number;
  mixedPrecision: MixedPrecision;
}

/** Adds the arguments, options and action of `alignprop generate`. */
export function defineCommand(command: Command): void {
  addMoreHelp(command.addHelpText('after', examples), `\nAlso accepted: ${otherNames('generate')}.`)
    .argument('[prompts...]', 'Prompts; several are generated as one batch.')
    .optionsGroup('Task:')
    .option('-p, --prompt <text>', 'A prompt, as an argument is; may be given several times.', collectValues)
    .option(
      '--prompts <file>',
      `Prompts to generate one after the other: ${promptFormats}. Prompt number i has the seed --seed + i, ` +
        'or that of the column seed.',
    );
  addColumnOptions(command);
  addPipelineOptions(command).addOption(
    new Option(
      '--mixed-precision <name>',
      'Precision of matmuls and convolutions: no is float32. fp16 (float16) needs a device other than cpu or ' +
        '--backend tensorflow, bf16 (bfloat16) needs --backend tensorflow.',
    )
      .choices(Object.keys(precisions))
      .default('no'),
  );
  addLoraOptions(command.optionsGroup('Adapter:')).option(
    '--lora-anneal <n>',
    'Fade the adapter in over the denoising steps: its share is progress^n, so 1 is linear. ' +
      "Keeps more of the model's diversity; takes twice the time.",
    parseNumber,
  );
  addSamplingOptions(command);
  addOutputOptions(command)
    .option(
      '-o, --output <file>',
      'PNG file to write; the names of several images are numbered: image-1.png.',
      'image.png',
    )
    .action((prompts: string[], options: GenerateOptions) =>
      generate([...prompts, ...(options.prompt ?? [])], options),
    );
}

/** Adds the options of sampling; those without a default depend on the kind of model. */
function addSamplingOptions(command: Command): void {
  command
    .optionsGroup('Sampling:')
    .option(
      '--seed <n>',
      'Seed; gives the images that diffusers generates with torch.Generator().manual_seed(n). (default: random)',
      integerParser(0),
    )
    .option(
      '--steps <n>',
      'Number of denoising steps. (default: 50; 1 for SD-Turbo and SDXL-Turbo, 4 for latent consistency models and ' +
        'with their scheduler)',
      integerParser(1, 100_000),
    )
    .option(
      '--guidance-scale <n>',
      'Weight of classifier-free guidance; 1 is no guidance. (default: 7.5; 5 for SDXL, 0 for SD-Turbo and ' +
        'SDXL-Turbo, 8.5 for latent consistency models, 1 with their scheduler)',
      parseNumber,
    )
    .option(
      '--guidance-interval <first,end>',
      'The part of the denoising steps that is guided, as two fractions such as 0.2,0.8; the others call the UNet ' +
        'for the prompt alone. (default: all)',
      parseInterval,
    )
    .option('--eta <n>', 'Noise added at each step of ddim (1: as much as DDPM) and tcd, from 0 to 1.', parseNumber, 0)
    .option('--negative-prompt <text>', 'Negative prompt. (default: none)')
    .option(
      '--image <file>',
      'Image to start from in place of noise. Images have its size, rounded down to multiples of 8, or --height and ' +
        '--width.',
    )
    .option(
      '--strength <n>',
      'Share of the steps that are taken from --image, above 0 up to 1. (default: 0.8; 0.3 for SDXL)',
      parseNumber,
    )
    .option(
      '--clip-skip <n>',
      'Last layers of the text encoder that prompts are encoded without, as "Clip skip" of A1111 less 1.',
      integerParser(0, 100),
      0,
    )
    .option(
      '--long-prompts',
      'Encode prompts of more than 75 tokens in chunks of 75, as A1111 does. By default they are cut off.',
      false,
    )
    .option('--num-images <n>', 'Images per prompt.', integerParser(1, 10_000), 1)
    .option('--height <n>', "Height in pixels, a multiple of 8. (default: the model's)", parsePixels)
    .option('--width <n>', "Width in pixels, a multiple of 8. (default: the model's)", parsePixels)
    .addOption(
      new Option(
        '--scheduler <name>',
        `Scheduler: config (the model's own), a class of diffusers, or one of ${schedulerNames.join(', ')}. ` +
          '(default: ddim; config for few-step models)',
      ).argParser(parseScheduler),
    );
}

const examples = `
Examples:
  $ alignprop generate "crab" -o crab.png --seed 7 --steps 20 --guidance-scale 5
  $ alignprop generate "crab" --lora out/pytorch_lora_weights.safetensors:0.8
  $ alignprop generate --prompts animals.csv --num-images 2 --seed 1 -o animals/image.png
  $ alignprop generate "a watercolor fox" --model stable-diffusion-v1-5/stable-diffusion-v1-5 --num-images 4`;

async function generate(texts: readonly string[], options: GenerateOptions): Promise<void> {
  checkOptions(options);
  const { loraAnneal, eta, scheduler, numImages, clipSkip, longPrompts, strength } = options;
  const output = new Output(options);
  const batches = await promptBatches(texts, options, output);
  const start = options.image === undefined ? undefined : await readImage(options.image);
  await prepareFolder(dirname(options.output));
  const loaded = await loadPipeline({ ...options, precision: precisions[options.mixedPrecision] }, output);
  const kind = modelKind(loaded, scheduler);
  const base = withScheduler(loaded, scheduler ?? kind.scheduler);
  const pipeline = await applyAdapters(base, options, output);
  const sampler = pipeline.scheduler.config._class_name as string;
  if (eta > 0 && !samplersWithEta.includes(sampler)) output.warn(`--eta has no effect with ${sampler}.`);
  const { steps = kind.numInferenceSteps, guidanceScale = kind.guidanceScale } = options;
  const settings = {
    numInferenceSteps: steps,
    guidanceScale,
    guidanceInterval: options.guidanceInterval,
    eta,
    numImagesPerPrompt: numImages,
    clipSkip,
    longPrompts,
    ...startingImage(start, options),
    strength,
    annealed: annealing(base, loraAnneal),
  };
  const count = batches.reduce((sum, { prompts }) => sum + prompts.length * numImages, 0);
  const writer = new ImageWriter({ ...options, count }, output);
  await interruptible(
    (signal) => drawBatches(pipeline, batches, { ...settings, signal }, writer, output),
    () => output.info('Stopping.'),
  );
}

/** Returns the image to start from, in the size of the images; without one, their size. */
function startingImage(
  read: Awaited<ReturnType<typeof readImage>> | undefined,
  { height, width }: Pick<GenerateOptions, 'height' | 'width'>,
) {
  if (!read) return { height, width };
  const downTo8 = (size: number): number => Math.max(8, size - (size % 8));
  const size = [height ?? downTo8(read.height), width ?? downTo8(read.width)] as const;
  const data = resizeUint8(Uint8Array.from(read.data), [read.height, read.width], size, { mode: 'bicubic' });
  return { image: { data, height: size[0], width: size[1] } };
}

/** Draws the batches one after the other, and writes the images of each before the next. */
async function drawBatches(
  pipeline: StableDiffusionPipeline,
  batches: readonly PromptBatch[],
  settings: DrawOptions,
  writer: ImageWriter,
  output: Output,
): Promise<void> {
  const steps = pipeline.scheduler.timesteps(settings.numInferenceSteps!).length;
  const format = batches.length > 1 ? (count: number) => `${Math.floor(count / steps)}` : String;
  const progress = output.progress('Generating', steps * batches.length, { format });
  try {
    for (const [i, { prompts, ...batch }] of batches.entries()) {
      const onStep = ({ step }: StepProgress) => progress.update(steps * i + step.index + 1);
      const { images, truncated } = await pipeline.generate(prompts, { ...settings, ...batch, onStep });
      for (const text of truncated)
        if (text)
          output.warn(
            `a prompt is too long for the text encoder: '${text.trim()}' was left out. ` +
              '--long-prompts encodes all of it.',
          );
      await writer.write(images);
    }
  } finally {
    progress.stop();
  }
}

/** @throws UsageError if the output is not a PNG file, or the share of the adapter cannot be computed */
function checkOptions({ output, loraAnneal }: GenerateOptions): void {
  if (!/\.png$/i.test(output)) throw new UsageError(`--output: got '${output}', expected a name that ends in .png.`);
  if (loraAnneal !== undefined && loraAnneal <= 0)
    throw new UsageError(`--lora-anneal: got ${loraAnneal}, expected a number above 0.`);
}

const annealing = ({ unet }: StableDiffusionPipeline, power?: number): Annealing | undefined =>
  power === undefined ? undefined : { from: unet.params, share: (progress) => progress ** power };

const samplersWithEta = ['DDIMScheduler', 'TCDScheduler'];

/** Replaces the scheduler by a named one; `config` keeps the model's own. */
const withScheduler = (pipeline: StableDiffusionPipeline, name: string): StableDiffusionPipeline =>
  name === 'config' ? pipeline : pipeline.with({ scheduler: schedulerFor(name, pipeline.scheduler.config) });
