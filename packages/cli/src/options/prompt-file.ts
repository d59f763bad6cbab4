import { hub } from '@alignprop/autograd-ext/weights';
import { UsageError } from '../terminal/errors.js';
import { pathExists } from '../path-exists.js';
import { decodeText, readTextFile } from './text-file.js';

/** A file of a data set on the hub, as Python writes it: `datasets/org/name/path`, also after `hf://`. */
const DATA_SET = /^(?:hf:\/\/)?datasets\/([^/]+\/[^/@]+)(?:@([^/]+))?\/(.+)$/;

/**
 * Reads the text of a file of prompts, of this machine or of a data set on the hub: `datasets/org/name/file.jsonl`, of
 * a branch, tag or commit `datasets/org/name@revision/file.jsonl`.
 * @param flag the flag that names the file, with which errors begin
 * @throws UsageError if the file cannot be read or is no text
 */
export async function readPromptFile(path: string, flag: string): Promise<string> {
  const [, id, revision, file] = pathExists(path) ? [] : (DATA_SET.exec(path) ?? []);
  if (!id || !file) return readTextFile(path, flag);
  const bytes = await readDataSet(id, file, revision).catch((cause: unknown) => {
    throw new UsageError(`${flag}: cannot read '${path}': ${(cause as Error).message}`, { cause });
  });
  return decodeText(bytes, path, flag);
}

async function readDataSet(id: string, file: string, revision: string | undefined): Promise<Uint8Array> {
  const opened = await hub(id, { repoType: 'dataset', revision }).open(file);
  try {
    return await opened.read(0, opened.size);
  } finally {
    await opened.close();
  }
}
