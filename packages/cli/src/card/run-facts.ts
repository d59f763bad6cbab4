import { publishedFiles, type RunManifest } from '@alignprop/trainer';
import { parseTerm, type Term } from '../options/reward-term.js';
import { readRecords } from '../run-records.js';
import type { BaseModel } from './base-model.js';

/** Mean rewards of held-out prompts, from the same noise. */
export interface ComparedRewards {
  readonly before: number;
  readonly after: number;
  /** Pictures after training by their paths in the folder, with their prompts. */
  readonly pictures: Readonly<Record<string, string>>;
}

/** Facts that a model card tells of a run. */
export interface RunFacts {
  readonly manifest: RunManifest;
  readonly base: BaseModel;
  /** The repository of the hub, or what stands in its place until it is known. */
  readonly repository: string;
  /** The reward, term by term; none where the manifest does not say. */
  readonly rewards: readonly Term[];
  readonly epochs: number;
  /** Mean rewards of training images in the first and the last epoch. */
  readonly trained?: { readonly first: number; readonly last: number };
  /** Held-out prompts without and with the adapter. */
  readonly compared?: ComparedRewards;
  /** The evaluation that the published adapter comes from. */
  readonly best?: { readonly step: number; readonly reward: number };
  /** Training prompts. */
  readonly prompts: readonly string[];
  /** The published files of the run. */
  readonly files: readonly string[];
  readonly isXL?: boolean;
}

/** The name of a repository without its owner. */
export const nameOf = (repository: string): string => repository.replace(/^.*\//, '');

/** Whether the published weights are an adapter rather than a whole UNet. */
export const isAdapter = ({ files }: RunFacts): boolean => !files.some((path) => path.startsWith('unet/'));

/** Reads what the records in a run's folder tell. */
export async function readFacts(
  folder: string,
  manifest: RunManifest,
): Promise<Pick<RunFacts, 'epochs' | 'trained' | 'best' | 'rewards' | 'files'>> {
  const { records: steps } = await readRecords(`${folder}/metrics.jsonl`);
  const { records: evaluations } = await readRecords(`${folder}/evaluations.jsonl`);
  const [first, last] = [steps[0]?.reward_mean, steps.at(-1)?.reward_mean];
  const bestStep = evaluations.at(-1)?.eval_best_step;
  const best = evaluations.find((record) => record.global_step === bestStep)?.eval_reward_mean;
  return {
    epochs: (steps.at(-1)?.epoch ?? -1) + 1,
    ...(first !== undefined && last !== undefined && { trained: { first, last } }),
    ...(bestStep !== undefined && best !== undefined && { best: { step: bestStep, reward: best } }),
    rewards: rewardsOf(manifest),
    files: Object.keys(await publishedFiles(folder)),
  };
}

/** The terms of a run's reward; none where the manifest does not say. */
export function rewardsOf({ identity }: RunManifest): readonly Term[] {
  const terms = (identity?.reward?.terms ?? []) as readonly { readonly name: string }[];
  return terms.map(({ name }) => parseTerm(name, 'reward'));
}
