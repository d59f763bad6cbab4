import type { Command } from 'commander';
import { ensureBackend, TfjsEngine } from '@alignprop/autograd-ext';
import { isWeightFile } from '@alignprop/autograd-ext/weights';
import { savePipeline } from '@alignprop/diffusion';
import { addReadingOptions, openPipeline, type ModelOptions } from '../options/model-options.js';
import { pathExists } from '../path-exists.js';
import { withDownloads } from '../terminal/downloads.js';
import { UsageError } from '../terminal/errors.js';
import { addOutputOptions, Output, type OutputOptions } from '../terminal/output.js';

type ConvertOptions = Pick<ModelOptions, 'revision' | 'modelConfig' | 'predictionType'> & OutputOptions;

/** Adds the arguments, options and action of `alignprop convert`. */
export function defineCommand(command: Command): void {
  command
    .argument('<file>', 'Checkpoint of Stable Diffusion 1.x, 2.x or XL in one file (.safetensors, .ckpt).')
    .argument('<folder>', "Folder to write, in diffusers' layout.")
    .optionsGroup('Model:')
    .option('--revision <name>', 'Branch, tag or commit of a hub repository. (default: main)');
  addOutputOptions(addReadingOptions(command))
    .addHelpText('after', examples)
    .action((file: string, folder: string, options: ConvertOptions) => convert(file, folder, options));
}

const examples = `
Examples:
  $ alignprop convert model.safetensors model
  $ alignprop convert v2-1_768.ckpt v2-1 --prediction-type v_prediction`;

async function convert(file: string, folder: string, options: ConvertOptions): Promise<void> {
  const { revision, modelConfig, predictionType } = options;
  if (!isWeightFile(file))
    throw new UsageError(`convert: got '${file}', expected a checkpoint in one file (.safetensors, .ckpt).`);
  if (pathExists(`${folder}/model_index.json`))
    throw new UsageError(`convert: '${folder}' holds a model already, expected another folder.`);
  const output = new Output(options);
  await ensureBackend();
  const onWarning = (message: string) => output.warn(message);
  await withDownloads(output, async (access) => {
    const common = { ...access, revision, engine: new TfjsEngine(), onWarning };
    await savePipeline(folder, await openPipeline(file, { modelConfig, predictionType }, common));
  });
  output.result({ event: 'convert', path: folder }, folder);
}
