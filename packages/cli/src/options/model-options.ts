import type { Command } from 'commander';
import { resolveSource } from '@alignprop/autograd-ext/weights';
import { StableDiffusionPipeline } from '@alignprop/diffusion';
import { embeddedModel } from '../embedded-model.js';
import type { Output } from '../terminal/output.js';
import { addEngineOptions, startEngine, type EngineOptions } from './engine-options.js';

/** Values of the options that select the model and the engine that runs it. */
export interface ModelOptions extends EngineOptions {
  /** A folder in diffusers' layout or a hub id; the embedded model by default. */
  model?: string;
  revision?: string;
  variant?: string;
  token?: string;
}

/** Adds `--model`, `--revision`, `--variant` and the options of the engine. */
export function addModelOptions(command: Command): Command {
  const model = command
    .optionsGroup('Model:')
    .option(
      '--model <folder|hub id>',
      `Stable Diffusion 1.x or 2.x in diffusers' layout. (default: the embedded model, ${embeddedModel.name})`,
    )
    .option('--revision <name>', 'Branch, tag or commit of a hub repository. (default: main)')
    .option('--variant <name>', 'Variant of the weight files, such as fp16.');
  return addEngineOptions(model);
}

/** @throws if the model does not exist, or one of its files is missing or damaged */
export async function loadPipeline(
  { model, revision, variant, token, ...options }: ModelOptions,
  output: Output,
): Promise<StableDiffusionPipeline> {
  const progress = downloadReporter(output);
  const source = await resolveSource(model ?? embeddedModel.path, { revision, token, progress });
  output.info(`Loading ${model ?? embeddedModel.name}`);
  return StableDiffusionPipeline.fromPretrained(source, {
    variant,
    engine: await startEngine(options, output),
    onWarning: (message) => output.warn(message),
  });
}

/** Reports each downloaded file once. */
function downloadReporter(output: Output): (progress: { path: string; total: number | undefined }) => void {
  const reported = new Set<string>();
  return ({ path, total }) => {
    if (reported.has(path)) return;
    reported.add(path);
    output.info(`Downloading ${path} (${((total ?? 0) / 1e6).toFixed(1)} MB)`);
  };
}
