import type { Command } from 'commander';
import type { ManifestParts } from '@alignprop/trainer';
import type { ConfigOption } from '../options/config-options.js';
import { runIdentity, type RunInputs } from '../options/run-identity.js';
import { storedOptions } from '../options/run-manifest.js';
import { withDownloads } from '../terminal/downloads.js';
import type { Output } from '../terminal/output.js';
import { runVersions } from './run-versions.js';

/**
 * Describes a run by its inputs, options and versions. A model on the hub is stored with its commit, so that the run
 * goes on with the same weights when the branch has moved.
 * @param command the command that starts the run; its options are stored
 */
export async function manifestParts(
  command: Command,
  fields: readonly ConfigOption[],
  inputs: RunInputs,
  output: Output,
): Promise<ManifestParts> {
  const identity = await withDownloads(output, (access) => runIdentity(inputs, access));
  const commit = identity.model!.commit;
  const options = { ...storedOptions(command, fields), ...(commit !== undefined && { revision: commit }) };
  return { identity, options, versions: runVersions() };
}
