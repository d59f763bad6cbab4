import { findManifest } from '@alignprop/trainer';
import { findBaseModel } from '../card/base-model.js';
import { unnamedRepository } from '../card/model-card.js';
import { writeCard } from '../card/write-card.js';
import type { Output } from '../terminal/output.js';
import type { Comparison } from './comparison.js';
import type { TrainingJob } from './training-run.js';

/** Writes the model card of the run. A run whose weights are written does not fail for want of it. */
export async function describeRun(
  { config, pipeline, prompts, evalPrompts, repository = unnamedRepository, token }: TrainingJob,
  { reward_before: before, reward_after: after, pictures = [] }: Comparison,
  output: Output,
): Promise<void> {
  const folder = config.output_dir;
  try {
    const { manifest } = (await findManifest(folder))!;
    const base = await findBaseModel(manifest, { token });
    const named = Object.fromEntries(pictures.map((path, i) => [path, evalPrompts!.prompts[i]!]));
    const compared = before === undefined || after === undefined ? undefined : { before, after, pictures: named };
    const parts = { base, repository, prompts: prompts.prompts, compared, isXL: pipeline.isXL };
    const isWritten = await writeCard(folder, manifest, parts);
    if (!isWritten) output.info(`Left ${folder}/README.md as it is: it is no model card of a run.`);
  } catch (error) {
    output.warn(`cannot write the model card: ${(error as Error).message}`);
  }
}
