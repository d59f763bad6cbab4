import type { Command } from 'commander';
import { rememberSecret } from '@alignprop/autograd-ext/outside';
import { checkPush, type PushOptions } from '@alignprop/autograd-ext/weights';
import { UsageError } from '../terminal/errors.js';
import type { Output } from '../terminal/output.js';
import { ownCommand } from '../terminal/program-command.js';

/** Values of the options that say where a run is pushed. */
export interface HubTargetOptions {
  hubModelId?: string;
  hubPrivate?: boolean;
  hubRevision?: string;
  hubCreatePr?: boolean;
  token?: string;
}

/** Adds `--hub-model-id`, `--hub-private`, `--hub-revision` and `--hub-create-pr`. */
export const addHubTarget = (command: Command): Command =>
  command
    .option(
      '--hub-model-id <id>',
      "Repository to push to, organisation/name, or a name alone for one of the token's owner. Created if needed.",
    )
    .option('--hub-private', 'Create the repository as a private one; refuse one that is public.')
    .option('--hub-revision <branch>', 'Branch to push to, created if needed. (default: main)')
    .option('--hub-create-pr', 'Open a pull request in place of a commit.');

/** Adds `--token`. */
export const addToken = (command: Command): Command =>
  command
    .option(
      '--token <text>',
      'Access token of the Hugging Face hub. HF_TOKEN does not show in lists of processes. ' +
        "(default: HF_TOKEN, else that of 'hf auth login')",
    )
    .on('option:token', rememberSecret);

/** The options of `pushToHub` that a command has got. */
export const pushOptions = ({ hubPrivate, hubRevision, hubCreatePr, token }: HubTargetOptions): PushOptions => ({
  private: hubPrivate,
  revision: hubRevision,
  createPr: hubCreatePr,
  token,
});

/**
 * Checks before a run that it can be pushed after it; see `checkPush`.
 * @returns the id of the repository, with its owner where the hub answers
 * @throws UsageError if there is no id, and for whatever would refuse the push
 */
export async function checkHubTarget(options: HubTargetOptions, output: Output): Promise<string> {
  const { hubModelId: id } = options;
  if (id === undefined)
    throw new UsageError(
      '--push-to-hub: got no repository, expected one. Give --hub-model-id organisation/name, ' +
        `or push the run later: ${ownCommand('push', '--help')}`,
    );
  try {
    return await checkPush(id, { ...pushOptions(options), onWarning: (message) => output.warn(message) });
  } catch (cause) {
    throw new UsageError(`--push-to-hub: ${(cause as Error).message}`, { cause });
  }
}
