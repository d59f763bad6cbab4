import { readdir } from 'node:fs/promises';
import { extname, join, relative, resolve } from 'node:path';
import { excerpt, excerptJson, excerptList } from '@alignprop/autograd-ext/outside';
import { UsageError } from '../terminal/errors.js';
import { parseEntries } from './prompt-entries.js';
import { readTextFile } from './text-file.js';

/** A picture's file and its caption. */
export interface CaptionedFile {
  readonly path: string;
  readonly caption: string;
}

const imageEndings = ['.png', '.jpg', '.jpeg', '.webp'];
const metadataFiles = ['metadata.jsonl', 'metadata.csv'];
/** The columns of captions that are recognised; the first that a row has is taken. */
const captionColumns = ['text', 'caption', 'prompt'];
const pathColumn = 'file_name';

const flag = '--data-dir';
const refuse = (what: string): never => {
  throw new UsageError(`${flag}: ${excerpt(what, 800)}`);
};

/**
 * Lists the pictures of a folder with their captions: those that `metadata.jsonl` or `metadata.csv` names, as Hugging
 * Face's imagefolder has it, or all, each with a `.txt` file of the same name.
 * @param column of the captions in the metadata
 * @throws UsageError if the folder cannot be read or has no picture, or a caption is missing or empty
 */
export async function readDataFolder(folder: string, column?: string): Promise<readonly CaptionedFile[]> {
  const names = await readdir(folder).catch((cause: unknown) => {
    throw new UsageError(`${flag}: cannot read '${folder}': ${(cause as Error).message}`, { cause });
  });
  const metadata = metadataFiles.find((name) => names.includes(name));
  if (metadata) return readMetadata(folder, metadata, column);
  if (column !== undefined) refuse(`'${folder}' has no ${metadataFiles.join(' or ')}, which --caption-column is for.`);
  return readBeside(folder, names);
}

/** Reads captions from the .txt files beside the pictures. */
async function readBeside(folder: string, names: readonly string[]): Promise<readonly CaptionedFile[]> {
  const pictures = names.filter((name) => imageEndings.includes(extname(name).toLowerCase())).sort();
  if (pictures.length === 0)
    refuse(`'${folder}' has no picture, expected files that end with ${imageEndings.join(', ')}.`);
  const textOf = (name: string): string => `${name.slice(0, -extname(name).length)}.txt`;
  const bare = pictures.filter((name) => !names.includes(textOf(name)));
  if (bare.length > 0)
    refuse(
      `${bare.length} of the ${pictures.length} pictures in '${folder}' have no caption: ${excerptList(bare, 5)}. ` +
        `Write ${textOf(bare[0]!)} beside the first, and so on, or one metadata.jsonl with file_name and text.`,
    );
  return Promise.all(
    pictures.map(async (name) => {
      const caption = (await readTextFile(join(folder, textOf(name)), flag)).trim();
      return caption === ''
        ? refuse(`'${join(folder, textOf(name))}' is empty, expected a caption.`)
        : { path: join(folder, name), caption };
    }),
  );
}

async function readMetadata(folder: string, name: string, column?: string): Promise<readonly CaptionedFile[]> {
  const path = join(folder, name);
  const captions = column === undefined ? captionColumns : [column];
  const isHeader = (header: readonly string[]) => header.includes(pathColumn);
  const { source, unit, entries } = parseEntries(path, await readTextFile(path, flag), flag, isHeader);
  if (entries.length === 0) refuse(`${source} names no picture, expected at least one.`);
  return entries.map(({ value, position }) => {
    const row = Object(value) as Readonly<Record<string, unknown>>;
    const read = (columns: readonly string[]): string => {
      const found = columns.find((each) => Object.hasOwn(row, each));
      const text = found === undefined ? undefined : row[found];
      if (found === undefined)
        return refuse(
          `${source} has no column ${columns.join(', ')} in ${unit} ${position}; it has ` +
            `${excerptList(Object.keys(row), 12) || 'none'}.` +
            (columns === captions ? ' Give --caption-column with one of them.' : ''),
        );
      if (typeof text !== 'string' || text.trim() === '')
        return refuse(`${source} has ${excerptJson(text, 60)} as '${found}' in ${unit} ${position}, expected a text.`);
      return text.trim();
    };
    const file = read([pathColumn]);
    const caption = read(captions);
    const picture = join(folder, file);
    if (relative(resolve(folder), resolve(picture)).startsWith('..'))
      refuse(`${source} has '${file}' as '${pathColumn}' in ${unit} ${position}, expected a file in the folder.`);
    return { path: picture, caption };
  });
}
