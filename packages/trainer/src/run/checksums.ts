import { excerptList } from '@alignprop/autograd-ext/outside';
import { directory, ifPresent, writeFileAtomic } from '@alignprop/autograd-ext/weights';

/** The file with the hashes of the other files of a checkpoint; `sha256sum -c SHA256SUMS` checks them, too. */
const checksumFile = 'SHA256SUMS';

/** Writes `<folder>/SHA256SUMS`. @param files paths within the folder */
export async function writeChecksums(folder: string, files: readonly string[]): Promise<void> {
  const lines: string[] = [];
  for (const file of files) lines.push(`${await fileHash(folder, file)}  ${file}\n`);
  await writeFileAtomic(`${folder}/${checksumFile}`, lines.join(''));
}

/**
 * Compares the files of a folder with its SHA256SUMS.
 * @param required files that have to be in it
 * @returns what is wrong with them: missing and changed files; undefined if they are as they were written
 * @throws if a file cannot be read, which does not say that it is damaged
 */
export async function findDamage(folder: string, required: readonly string[]): Promise<string | undefined> {
  const { readFile } = await import('node:fs/promises');
  const text = await ifPresent(readFile(`${folder}/${checksumFile}`, 'utf8'));
  if (text === undefined) return `${checksumFile} is missing`;
  const hashes = parseChecksums(text);
  if (!hashes || !required.every((file) => hashes.has(file))) return `${checksumFile} is not what was written`;
  const problems: string[] = [];
  for (const [file, hash] of hashes) {
    if (!(await directory(folder).has(file))) problems.push(`${file} is missing`);
    else if ((await fileHash(folder, file)) !== hash) problems.push(`${file} is not what was written (sha256 differs)`);
  }
  return problems.length > 0 ? excerptList(problems, 8, 200) : undefined;
}

/** Returns hashes by file; undefined if a line is none of a hash and a file. */
function parseChecksums(text: string): ReadonlyMap<string, string> | undefined {
  const lines = text.split('\n');
  if (lines.pop() !== '') return undefined;
  const entries = lines.map((line) => /^([\da-f]{64}) {2}(\w[\w./-]*)$/.exec(line));
  if (!entries.every((entry) => entry !== null)) return undefined;
  return new Map(entries.map(([, hash, file]) => [file!, hash!]));
}

/** The bytes that are hashed at once. */
const pieceSize = 2 ** 22;

async function fileHash(folder: string, path: string): Promise<string> {
  const { createHash } = await import('node:crypto');
  const hash = createHash('sha256');
  const file = await directory(folder).open(path);
  try {
    for (let at = 0; at < file.size; at += pieceSize)
      hash.update(await file.read(at, Math.min(pieceSize, file.size - at)));
  } finally {
    await file.close();
  }
  return hash.digest('hex');
}
