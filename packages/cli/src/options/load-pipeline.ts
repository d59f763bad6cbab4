import type { Command } from 'commander';
import { resolveSource } from '@alignprop/autograd-ext/weights';
import { StableDiffusionPipeline } from '@alignprop/diffusion';
import { embeddedModel } from '../embedded-model.js';
import { engineOptions, startEngine, type EngineOptions } from './engine-options.js';
import type { Output } from '../terminal/output.js';

export interface ModelOptions extends EngineOptions {
  /** A diffusers folder or a hub id; the embedded model by default. */
  model?: string;
  revision?: string;
  variant?: string;
  token?: string;
}

/** Adds the options that say which model runs, and on what. */
export function modelOptions(command: Command): Command {
  const model = command
    .optionsGroup('Model:')
    .option(
      '--model <folder|hub id>',
      `Stable Diffusion 1.x or 2.x in diffusers' layout. (default: ${embeddedModel.name}, which comes with this package)`,
    )
    .option('--revision <name>', 'Branch, tag or commit of a hub repository. (default: main)')
    .option('--variant <name>', "Weight files' variant, such as fp16.");
  return engineOptions(model);
}

/** @throws if there is no such model, or a file of it is missing or damaged */
export async function loadPipeline(
  { model, revision, variant, token, ...options }: ModelOptions,
  output: Output,
): Promise<StableDiffusionPipeline> {
  const source = await resolveSource(model ?? embeddedModel.path, { revision, token, onProgress: downloads(output) });
  output.info(`Loading ${model ?? embeddedModel.name}`);
  return StableDiffusionPipeline.fromPretrained(source, { variant, engine: await startEngine(options, output) });
}

/** Says once a file that it is downloaded. */
function downloads(output: Output): (progress: { path: string; total: number }) => void {
  const told = new Set<string>();
  return ({ path, total }) => {
    if (told.has(path)) return;
    told.add(path);
    output.info(`Downloading ${path} (${(total / 1e6).toFixed(1)} MB)`);
  };
}
