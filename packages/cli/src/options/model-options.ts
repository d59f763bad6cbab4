import { Option, type Command } from 'commander';
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
  /** A folder or hub id whose configs and tokenizers replace those that a checkpoint in one file is taken for. */
  modelConfig?: string;
  /** The prediction type of the UNet of a checkpoint in one file. */
  predictionType?: PredictionType;
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

/** Adds `--model` and the options that say how it is read. */
export const addModelOptions = (command: Command): Command => addReadingOptions(addLocationOptions(command));

const addLocationOptions = (command: Command): Command =>
  command
    .optionsGroup('Model:')
    .option(
      '--model <folder|file|hub id>',
      "Stable Diffusion 1.x, 2.x, XL or LCM in diffusers' layout, or a checkpoint in one file (.safetensors, .ckpt). " +
        `(default: the embedded model, ${embeddedModel.name})`,
    )
    .option('--revision <name>', 'Branch, tag or commit of a hub repository. (default: main)')
    .option('--variant <name>', 'Variant of the weight files, such as fp16.');

/** Adds `--model-config` and `--prediction-type`. */
export const addReadingOptions = (command: Command): Command =>
  command
    .option(
      '--model-config <folder|hub id>',
      "Model in diffusers' layout whose configs, tokenizers and scheduler a checkpoint in one file has. " +
        '(default: those of the published model of its kind)',
    )
    .addOption(
      new Option(
        '--prediction-type <name>',
        'What a checkpoint in one file predicts, if it does not tell. (default: by the kind of model)',
      ).choices(['epsilon', 'v_prediction']),
    );

type PredictionType = FromSingleFileOptions['predictionType'];

/** @throws if the model does not exist, or one of its files is missing or damaged */
export async function loadPipeline(
  { model, revision, variant, modelConfig, predictionType, token, embedding = [], ...options }: ModelOptions,
  output: Output,
): Promise<StableDiffusionPipeline> {
  const name = model ?? embeddedModel.name;
  const engine = await startEngine(options, output);
  output.info(`Loading ${name} on ${engine.name} (${engine.device})`);
  const load = async (access: HubAccess) => {
    const common = { ...access, revision, token, engine };
    let pipeline = await openPipeline(model ?? embeddedModel.path, { variant, modelConfig, predictionType }, common);
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

/** The options that say how a model is read. */
type ReadingOptions = Pick<ModelOptions, 'variant' | 'modelConfig' | 'predictionType'>;

/** Opens a folder, or a checkpoint in one file. @throws if an option is given that belongs to the other */
export function openPipeline(
  location: string,
  { variant, modelConfig: config, predictionType }: ReadingOptions,
  options: FromSingleFileOptions,
): Promise<StableDiffusionPipeline> {
  if (isWeightFile(location)) {
    refuse({ variant }, `the file '${location}'`);
    return StableDiffusionPipeline.fromSingleFile(location, { ...options, config, predictionType });
  }
  refuse({ 'model-config': config, 'prediction-type': predictionType }, `'${location}', which has configs of its own`);
  return StableDiffusionPipeline.fromPretrained(location, { ...options, variant });
}

function refuse(given: Readonly<Record<string, string | undefined>>, model: string): void {
  for (const [name, value] of Object.entries(given))
    if (value !== undefined)
      throw new Error(`--${name} got '${value}' for ${model}, expected none. Leave out --${name}.`);
}

/** Splits `file:token`. A colon before a path, as in C:\, belongs to the file, and so does one in a file's name. */
function splitToken(given: string): [location: string, token?: string] {
  const [, location, token] = pathExists(given) ? [] : (/^(.+):([^:/\\]+)$/.exec(given) ?? []);
  return location === undefined ? [given] : [location, token];
}
