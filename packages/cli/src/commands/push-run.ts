import { readFile } from 'node:fs/promises';
import { pushToHub, type PushedFiles } from '@alignprop/autograd-ext/weights';
import { modelCardFile, publishedFiles } from '@alignprop/trainer';
import { forRepository } from '../card/write-card.js';
import { pushOptions, type HubTargetOptions } from '../options/hub-options.js';
import { Interrupted } from '../terminal/errors.js';
import { interruptible } from '../terminal/interrupt.js';
import type { Output } from '../terminal/output.js';
import { ownCommand } from '../terminal/program-command.js';

/** The files of an ended run that are uploaded to a repository, whose name the model card gets. */
export async function filesFor(folder: string, id: string): Promise<PushedFiles> {
  const files = await publishedFiles(folder);
  const card = files[modelCardFile];
  if (typeof card !== 'string') return files;
  return { ...files, [modelCardFile]: new TextEncoder().encode(forRepository(await readFile(card, 'utf8'), id)) };
}

/**
 * Uploads an ended run, and prints the address. The files in the folder stay as they are.
 * @throws an error with the command that pushes the run later
 */
export async function pushRun(folder: string, id: string, options: HubTargetOptions, output: Output): Promise<void> {
  try {
    const { url, commit } = await interruptible(
      async (signal) => {
        const files = await filesFor(folder, id);
        output.info(`Pushing ${Object.keys(files).length} files of ${folder} to ${id}`);
        const onWarning = (message: string) => output.warn(message);
        return pushToHub(id, files, {
          ...pushOptions(options),
          ...{ onWarning, signal, commitMessage: 'Upload a run of alignprop' },
        });
      },
      () => output.info('Stopping the upload.'),
    );
    output.result({ event: 'pushed', url, commit }, `Pushed   ${url}`);
  } catch (error) {
    const later = `The run in ${folder} is kept. Push it later with:\n  ${pushCommand(folder, id, options)}`;
    if (error instanceof Interrupted) {
      output.warn(`the upload was stopped. ${later}`);
      throw error;
    }
    throw new Error(`push: ${(error as Error).message} ${later}`, { cause: error });
  }
}

/** The command that pushes a run, without the token. */
function pushCommand(folder: string, id: string, options: HubTargetOptions): string {
  const { hubPrivate, hubRevision, hubCreatePr } = options;
  return ownCommand(
    ...['push', folder.startsWith('-') ? `./${folder}` : folder, '--hub-model-id', id],
    ...(hubPrivate ? ['--hub-private'] : []),
    ...(hubRevision === undefined ? [] : ['--hub-revision', hubRevision]),
    ...(hubCreatePr ? ['--hub-create-pr'] : []),
  );
}
