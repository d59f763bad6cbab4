/** A file of any size, read by ranges. */
export interface RandomAccessFile {
  /** What messages call it. */
  readonly name: string;
  /** In bytes. */
  readonly size: number;
  /** Its path on this machine, where it has one: an engine may map it into memory. */
  readonly path?: string;
  /** The caller owns the bytes. @throws if the range reaches beyond the file */
  read(offset: number, length: number): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** Where a model's files come from: a folder, a hub repository, or memory. Paths are relative, with `/`. */
export interface FileSource {
  /** What messages call it. */
  readonly location: string;
  has(path: string): Promise<boolean>;
  /** Names of the files that lie directly in a folder, sorted; empty if there is no such folder. */
  list(folder?: string): Promise<readonly string[]>;
  /** @throws if there is no such file */
  open(path: string): Promise<RandomAccessFile>;
}

/** One folder of a source as a source of its own. */
export function subfolder(source: FileSource, name: string): FileSource {
  const inside = (path: string) => joinPath(name, path);
  return {
    location: `${source.location}/${name}`,
    has: (path) => source.has(inside(path)),
    list: (folder = '') => source.list(inside(folder)),
    open: (path) => source.open(inside(path)),
  };
}

/** A text file's contents. @throws if it is missing or not UTF-8 */
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

/** A JSON file's value. @throws if it is missing or not JSON */
export async function readJson<T = unknown>(source: FileSource, path: string): Promise<T> {
  const text = await readText(source, path);
  try {
    return JSON.parse(text) as T;
  } catch (cause) {
    const hint = describeForeignText(text) ?? 'Correct it or download it again.';
    throw new Error(`readJson: '${path}' in '${source.location}' is not JSON. ${hint}`, { cause });
  }
}

/** Relative paths joined and normalised, with `/`; `..` does not lead out. */
export function joinPath(...parts: string[]): string {
  const kept: string[] = [];
  for (const part of parts.flatMap((path) => path.split('/'))) {
    if (part === '..') kept.pop();
    else if (part && part !== '.') kept.push(part);
  }
  return kept.join('/');
}

/** What to do about a file that holds a git-lfs pointer or a web page in place of what it should hold. */
export function describeForeignText(beginning: string): string | undefined {
  if (beginning.startsWith('version https://git-lfs'))
    return "It is a git-lfs pointer, not the file itself. Run 'git lfs pull' in the repository, or download the file.";
  if (/^\s*<(!doctype|html|\?xml)/i.test(beginning))
    return 'It is a web page (a sign-in or error page saved under this name). Download the file itself; a gated model needs a token.';
  return undefined;
}
