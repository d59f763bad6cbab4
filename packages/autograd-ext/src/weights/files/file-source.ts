import { excerptJson } from '../../outside/excerpt.js';
import { parsePythonJson } from '../../outside/python-json.js';
import { joinPath } from './paths.js';

/** An open file of any size, read by ranges. */
export interface RandomAccessFile {
  /** Its name in error messages. */
  readonly name: string;
  /** In bytes. */
  readonly size: number;
  /** Its path, if it is a file of this machine: an engine may map it into memory. */
  readonly path?: string;
  /** Returns bytes that the caller owns. @throws if the range reaches beyond the file */
  read(offset: number, length: number): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** A source of the files of a model: a folder, a hub repository, or memory. Paths are relative, with `/`. */
export interface FileSource {
  /** Its name in error messages. */
  readonly location: string;
  has(path: string): Promise<boolean>;
  /** Returns the names of the files directly in a folder, sorted; none if there is no such folder. */
  list(folder?: string): Promise<readonly string[]>;
  /** @throws if there is no such file */
  open(path: string): Promise<RandomAccessFile>;
}

/** Returns a folder of a source as a source. */
export function subfolder(source: FileSource, name: string): FileSource {
  const inside = (path: string) => joinPath(name, path);
  return {
    location: `${source.location}/${name}`,
    has: (path) => source.has(inside(path)),
    list: (folder = '') => source.list(inside(folder)),
    open: (path) => source.open(inside(path)),
  };
}

/** The size of the pieces of `readPieces`, in bytes: whole elements, and few enough for a processor's cache. */
const PIECE = 2 ** 22;

/** Reads a range in pieces of whole elements, one after the other. */
export async function readPieces(
  file: RandomAccessFile,
  offset: number,
  length: number,
  visit: (piece: Uint8Array) => void,
): Promise<void> {
  for (let at = 0; at < length; at += PIECE) visit(await file.read(offset + at, Math.min(PIECE, length - at)));
}

/** Reads a text file, without its byte order mark. @throws if it is missing or not UTF-8 */
export async function readText(source: FileSource, path: string): Promise<string> {
  const file = await source.open(path);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(await file.read(0, file.size));
  } catch (cause) {
    throw new Error(`readText: cannot read '${file.name}' as UTF-8 text. Download it again.`, { cause });
  } finally {
    await file.close();
  }
}

/**
 * Reads an object from a JSON file, as Python writes them: `-Infinity` is a number.
 * @throws if it is missing, not JSON, or holds another value than an object
 */
export async function readJson<T = unknown>(source: FileSource, path: string): Promise<T> {
  const text = await readText(source, path);
  const value = parsed(text, `'${path}' in '${source.location}'`);
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as T;
  throw new Error(
    `readJson: '${path}' in '${source.location}' got ${excerptJson(value, 60)}, expected an object. ` +
      'Correct it or download it again.',
  );
}

function parsed(text: string, file: string): unknown {
  try {
    return parsePythonJson(text);
  } catch (cause) {
    const hint = describeForeignText(text) ?? 'Correct it or download it again.';
    throw new Error(`readJson: ${file} is not JSON. ${hint}`, { cause });
  }
}

/** Says what to do about a file that turns out to be a git-lfs pointer or a web page; undefined for any other. */
export function describeForeignText(beginning: string): string | undefined {
  if (beginning.startsWith('version https://git-lfs'))
    return "It is a git-lfs pointer, not the file itself. Run 'git lfs pull' in the repository, or download the file.";
  if (/^\s*<(!doctype|html|\?xml)/i.test(beginning))
    return (
      'It is a web page (a sign-in or error page saved under this name). ' +
      'Download the file itself; a gated model needs a token.'
    );
  return undefined;
}
