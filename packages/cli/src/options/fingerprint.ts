import { createHash } from 'node:crypto';
import { open, readdir, stat, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { ifPresent } from '@alignprop/autograd-ext/weights';

/** The SHA-256 of a text, as hexadecimal digits. */
export const hashText = (text: string): string => createHash('sha256').update(text).digest('hex');

/** Files up to this size are hashed whole. */
const wholeSize = 2 ** 26;
/** The number and size of the pieces that are hashed of larger files, spread evenly from the first byte to the last. */
const [pieces, pieceSize] = [64, 2 ** 18];

/** Describes a file's contents. */
interface FileFingerprint {
  /** Relative to the folder. */
  readonly path: string;
  /** In bytes. */
  readonly size: number;
  readonly sha256: string;
}

/** Describes a file, or a folder of a model, so that another one is told from it without reading gigabytes. */
export interface Fingerprint {
  readonly sha256: string;
  readonly files: readonly FileFingerprint[];
}

/**
 * Hashes a file, or the configurations and weights in a folder and in the folders directly in it. Of files above 64 MiB
 * it hashes the size and 16 MiB of the contents: two models of one shape differ everywhere.
 * @returns undefined if there is neither a file nor a folder
 */
export async function fingerprint(path: string): Promise<Fingerprint | undefined> {
  const found = await ifPresent(stat(path));
  if (!found) return undefined;
  const names = found.isDirectory() ? await modelFiles(path) : [''];
  const files: FileFingerprint[] = [];
  for (const name of names) files.push({ path: name, ...(await hashFile(join(path, name))) });
  return { sha256: hashText(JSON.stringify(files)), files };
}

const isModelFile = (name: string): boolean =>
  !name.startsWith('.') && /\.(json|txt|model|safetensors|bin|ckpt|pt|pth)$/.test(name);

async function modelFiles(folder: string): Promise<readonly string[]> {
  const entries = await readdir(folder, { withFileTypes: true });
  const inside = entries
    .filter((entry) => !entry.isFile() && !entry.name.startsWith('.'))
    .map(async ({ name }) => ((await ifPresent(readdir(join(folder, name)))) ?? []).map((file) => `${name}/${file}`));
  const names = [entries.map(({ name }) => name), ...(await Promise.all(inside))].flat();
  const kept = names.filter((name) => isModelFile(name.replace(/^.*\//, ''))).sort();
  const areFiles = await Promise.all(kept.map(async (name) => (await stat(join(folder, name))).isFile()));
  return kept.filter((_, i) => areFiles[i]);
}

async function hashFile(path: string): Promise<Omit<FileFingerprint, 'path'>> {
  const file = await open(path);
  try {
    const { size } = await file.stat();
    const hash = createHash('sha256').update(`${size}\n`);
    if (size <= wholeSize)
      for await (const piece of file.createReadStream({ autoClose: false })) hash.update(piece as Uint8Array);
    else for (const piece of samples(file, size)) hash.update(await piece);
    return { size, sha256: hash.digest('hex') };
  } finally {
    await file.close();
  }
}

function* samples(file: FileHandle, size: number): Generator<Promise<Uint8Array>> {
  for (let i = 0; i < pieces; i++) {
    const position = Math.floor((i * (size - pieceSize)) / (pieces - 1));
    yield file.read(new Uint8Array(pieceSize), 0, pieceSize, position).then(({ buffer }) => buffer);
  }
}
