import type { Command } from 'commander';
import { isWeightFile, type HubAccess } from '@alignprop/autograd-ext/weights';
import { StableDiffusionPipeline, type FromSingleFileOptions } from '@alignprop/diffusion';
import { embeddedModel } from '../embedded-model.js';
import { withDownloads } from '../terminal/downloads.js';
import type { Output } from '../terminal/output.js';
import { timed } from '../terminal/timed.js';
import { addEngineOptions, startEngine, type EngineOptions } from './engine-options.js';
import { collectValues } from './option-parsers.js';
import { pathExists } from '../path-exists.js';

/** Values of the options that select the model and the engine that runs it. */
export interface ModelOptions extends EngineOptions {
  /** A folder in diffusers' layout, a hub id or a checkpoint in one file; the embedded model by default. */
  model?: string;
  revision?: string;
  variant?: string;
  token?: string;
  /** Textual inversions: locations, each with a token after a colon or without. */
  embedding?: readonly string[];
}

/** Adds the options of `addModelOptions`, `--embedding` and the options of the engine. */
export function addPipelineOptions(command: Command): Command {
  const model = addModelOptions(command).option(
    '--embedding <file[:token]>',
    "Textual inversion in diffusers' or A1111's format: a file, a folder, a hub id or organisation/name/file. " +
      'Prompts name its token, by default the one that the file has. May be given several times.',
    collectValues,
  );
  return addEngineOptions(model);
}

/** Adds `--model`, `--revision` and `--variant`. */
export const addModelOptions = (command: Command): Command =>
  command
    .optionsGroup('Model:')
    .option(
      '--model <folder|file|hub id>',
      "Stable Diffusion 1.x, 2.x, XL or LCM in diffusers' layout, or a checkpoint in one file (.safetensors, .ckpt). " +
        `(default: the embedded model, ${embeddedModel.name})`,
    )
    .option('--revision <name>', 'Branch, tag or commit of a hub repository. (default: main)')
    .option('--variant <name>', 'Variant of the weight files, such as fp16.');

/** @throws if the model does not exist, or one of its files is missing or damaged */
export async function loadPipeline(
  { model, revision, variant, token, embedding = [], ...options }: ModelOptions,
  output: Output,
): Promise<StableDiffusionPipeline> {
  const name = model ?? embeddedModel.name;
  const engine = await startEngine(options, output);
  output.info(`Loading ${name} on ${engine.name} (${engine.device})`);
  const load = async (access: HubAccess) => {
    const location = model ?? embeddedModel.path;
    const common = { ...access, revision, token, engine };
    let pipeline = isWeightFile(location)
      ? await openFile(location, common, variant)
      : await StableDiffusionPipeline.fromPretrained(location, { ...common, variant });
    for (const given of embedding) {
      const [location, name] = splitToken(given);
      pipeline = await pipeline.loadTextualInversion(location, { ...access, token: name, hfToken: token });
    }
    return pipeline;
  };
  return timed(
    (duration) => output.info(`Loaded ${name} in ${duration}`),
    () => withDownloads(output, load),
  );
}

/** Opens a checkpoint in one file. @throws if a variant is given, which belongs to folders */
function openFile(
  file: string,
  options: FromSingleFileOptions,
  variant: string | undefined,
): Promise<StableDiffusionPipeline> {
  if (variant === undefined) return StableDiffusionPipeline.fromSingleFile(file, options);
  throw new Error(`--variant got '${variant}' for the file '${file}', expected none. Leave out --variant.`);
}

/** Splits `file:token`. A colon before a path, as in C:\, belongs to the file, and so does one in a file's name. */
function splitToken(given: string): [location: string, token?: string] {
  const [, location, token] = pathExists(given) ? [] : (/^(.+):([^:/\\]+)$/.exec(given) ?? []);
  return location === undefined ? [given] : [location, token];
}
