import { Option, type Command } from 'commander';
import { hashText, fingerprint } from './fingerprint.js';
import { readDataFolder, type CaptionedFile } from './data-folder.js';
import { integerParser } from './option-parsers.js';
import type { IdentityPart } from '@alignprop/trainer';

/** Values of the options that name the data of a run beside its reward. */
export interface DataOptions {
  dataDir?: string;
  captionColumn?: string;
  priorImages?: number;
  /** Fields of the configuration. */
  dataWeight?: number;
  estimatorImages?: string;
}

/** The data of a run: pictures in files with their captions, or as many of the model's own. */
export type RunData =
  | { readonly kind: 'files'; readonly folder: string; readonly files: readonly CaptionedFile[] }
  | { readonly kind: 'prior'; readonly count: number };

const defaultCount = 16;

/** Adds `--data-dir`, `--caption-column` and `--prior-images`. */
export const addDataOptions = (command: Command): Command =>
  command
    .option(
      '--data-dir <folder>',
      'Pictures (PNG; JPEG and WebP with sharp) to train on beside the reward, with --data-weight, or ' +
        'to start from, with --estimator-images dataset: each with its ' +
        'caption in a .txt file of the same name, or in the column text of metadata.jsonl or metadata.csv beside ' +
        "file_name. They are cropped to the images' size. By default the model's own pictures of the training prompts.",
    )
    .option(
      '--caption-column <name>',
      'Column of the captions in metadata.jsonl or metadata.csv of --data-dir. (default: text, caption or prompt)',
    )
    .addOption(
      new Option(
        '--prior-images <n>',
        'With --data-weight and without --data-dir: how many pictures the model draws before training, to stay near ' +
          `what it was. (default: ${defaultCount})`,
      ).argParser(integerParser(1)),
    );

/**
 * Finds the data of a run, and reads their captions.
 * @returns undefined without `--data-weight` or `--estimator-images dataset`, which needs a folder
 * @throws UsageError if the folder has no picture, or a picture no caption
 */
export async function readDataOptions(options: DataOptions): Promise<RunData | undefined> {
  const { dataDir: folder, captionColumn, priorImages: count = defaultCount, dataWeight = 0 } = options;
  if (!(dataWeight > 0) && options.estimatorImages !== 'dataset') return undefined;
  if (folder === undefined) return { kind: 'prior', count };
  return { kind: 'files', folder, files: await readDataFolder(folder, captionColumn) };
}

/** Describes the data of a run for its manifest. */
export async function dataIdentity(data: RunData): Promise<IdentityPart> {
  const name = describeData(data);
  if (data.kind === 'prior') return { name, sha256: hashText(name) };
  const contents: (readonly [string, string | undefined])[] = [];
  for (const { path, caption } of data.files) contents.push([caption, (await fingerprint(path))?.sha256]);
  return { name, sha256: hashText(JSON.stringify(contents)) };
}

/** The data in messages. */
export const describeData = (data: RunData): string =>
  data.kind === 'prior' ? `${data.count} pictures of the model` : `${data.files.length} pictures of '${data.folder}'`;
