import { stat } from 'node:fs/promises';
import type { Command } from 'commander';
import { findManifest, modelCardFile, publishedFiles, type RunManifest } from '@alignprop/trainer';
import { ifPresent } from '@alignprop/autograd-ext/weights';
import { findBaseModel } from '../card/base-model.js';
import { unnamedRepository } from '../card/model-card.js';
import { writeCard } from '../card/write-card.js';
import { addHubTarget, addToken, type HubTargetOptions } from '../options/hub-options.js';
import { UsageError } from '../terminal/errors.js';
import { addOutputOptions, Output, type OutputOptions } from '../terminal/output.js';
import { filesFor, pushRun } from './push-run.js';

interface PushCommandOptions extends HubTargetOptions, OutputOptions {
  dryRun?: boolean;
}

/** Adds the arguments, options and action of `alignprop push`. */
export function defineCommand(command: Command): void {
  command.argument('<folder>', 'Folder of a run that has ended.');
  addToken(addHubTarget(command.optionsGroup('Hub:'))).option(
    '--dry-run',
    'Print the files that would be uploaded. Sends nothing and needs no token.',
  );
  addOutputOptions(command)
    .addHelpText('after', help)
    .action((folder: string, options: PushCommandOptions) => push(folder, options));
}

const help = `
Uploads the adapter as pytorch_lora_weights.safetensors (that of the best evaluation, if there were any), the model card
README.md, config.json and pictures in one commit. Options that are not given are those of the run. Needs the package
@huggingface/hub, and a token that may write.

Examples:
  $ alignprop push out --hub-model-id organisation/name --hub-private
  $ alignprop push out --hub-model-id organisation/name --hub-create-pr
  $ alignprop push out --dry-run`;

async function push(folder: string, options: PushCommandOptions): Promise<void> {
  const output = new Output(options);
  const manifest = await manifestOf(folder);
  const target = { ...storedTarget(manifest), ...options };
  const { hubModelId: id } = target;
  if (id === undefined && !options.dryRun)
    throw new UsageError('push: got no repository, expected one. Give --hub-model-id organisation/name.');
  await addMissingCard(folder, manifest, target);
  if (options.dryRun) return list(folder, id ?? unnamedRepository, output);
  await pushRun(folder, id!, target, output);
}

/** @throws UsageError if the folder is not that of a run */
async function manifestOf(folder: string): Promise<RunManifest> {
  const found = await findManifest(folder);
  if (found?.folder === folder) return found.manifest;
  throw new UsageError(`push: got '${folder}', expected the folder of a run, with run.json. Check the path.`);
}

/** The repository that the run was to be pushed to. */
function storedTarget({ options = {} }: RunManifest): HubTargetOptions {
  const { hubModelId, hubPrivate, hubRevision, hubCreatePr } = options as HubTargetOptions;
  return { hubModelId, hubPrivate, hubRevision, hubCreatePr };
}

/** Writes a model card for a run that has none, from its records alone. */
async function addMissingCard(folder: string, manifest: RunManifest, target: HubTargetOptions): Promise<void> {
  const files = await publishedFiles(folder).catch((cause: unknown) => {
    throw new UsageError((cause as Error).message.replace(/^publishedFiles/, 'push'), { cause });
  });
  if (Object.hasOwn(files, modelCardFile)) return;
  const { prompt } = manifest.options ?? {};
  const prompts = Array.isArray(prompt) ? (prompt as readonly string[]) : [];
  const base = await findBaseModel(manifest, { token: target.token });
  await writeCard(folder, manifest, { base, prompts, repository: target.hubModelId ?? unnamedRepository });
}

async function list(folder: string, id: string, output: Output): Promise<void> {
  const files = await filesFor(folder, id);
  const sizes = Object.entries(files).map(async ([path, content]) => {
    const size = typeof content === 'string' ? (await ifPresent(stat(content)))!.size : content.length;
    return [path, size] as const;
  });
  const rows = await Promise.all(sizes);
  for (const [path, size] of rows) output.result({ event: 'file', path, size });
  output.table([['file', 'bytes'], ...rows.map(([path, size]) => [path, `${size}`])]);
  output.info(`Would push ${rows.length} files to ${id}. Nothing was sent.`);
}
