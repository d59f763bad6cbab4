import { directory } from './files/directory.js';
import type { FileSource } from './files/file-source.js';
import { ifPresent } from '../if-present.js';
import { isWeightFile } from './open-weight-file.js';
import { hub, HUB_ID } from './hub/hub.js';
import type { HubOptions } from './hub/hub-settings.js';

/**
 * Resolves the location of a model: a folder if there is one of this name, else a hub id `org/name`. Returns a
 * `FileSource` as it is.
 * @param options used for a hub id; the signal for any location
 * @throws if it is neither, and the reason of the signal if that is aborted
 */
export async function resolveSource(source: string | FileSource, options: HubOptions = {}): Promise<FileSource> {
  options.signal?.throwIfAborted();
  if (typeof source !== 'string') return source;
  const { stat } = await import('node:fs/promises');
  const entry = await ifPresent(stat(source));
  if (entry?.isDirectory()) return directory(source);
  if (entry) throw new Error(`resolveSource: location got the file '${source}', expected a folder. ${advice(source)}`);
  if (HUB_ID.test(source)) return hub(source, options);
  throw new Error(
    `resolveSource: location got '${source}', expected an existing folder or a hub id like 'organisation/name'. ` +
      'Check the path.',
  );
}

/** Says what to do about a file that was given in place of a folder. */
const advice = (file: string): string =>
  isWeightFile(file) ? singleFileAdvice(file) : 'Pass the folder that holds it.';

/** Says what to do about a checkpoint in a single file, given in place of a pipeline's folder. */
export const singleFileAdvice = (file: string): string =>
  'A checkpoint in a single file (of the original scripts) is opened by its own path: ' +
  `StableDiffusionPipeline.fromSingleFile('${file}'), or --model '${file}'.`;
