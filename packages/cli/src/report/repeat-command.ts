import { isMasked } from '@alignprop/autograd-ext/outside';
import type { ReportedRun } from './reported-run.js';
import { ownCommand } from '../terminal/program-command.js';
import { flagOf } from './settings.js';

/** A command that runs something again. */
export interface Repetition {
  readonly command: string;
  /** Sentences about what the command leaves open. */
  readonly remarks: readonly string[];
}

/** Options that the command states itself, or that would publish the repetition. */
const left = ['outputDir', 'algorithm', 'hubModelId', 'hubPrivate', 'hubRevision', 'hubCreatePr'];

/** The command that trains as a run did, from its configuration and its options, into another folder. */
export function repetitionOf({ folder, manifest }: ReportedRun): Repetition {
  const { kind, algorithm, options = {}, config } = manifest;
  const again = ['--output-dir', `${folder.replace(/[\\/]+$/, '')}-again`];
  if (kind === 'demo') return { command: ownCommand('demo', ...again), remarks: [] };
  const given = Object.entries(options).filter(([key]) => !left.includes(key));
  const secret = given.filter(([, value]) => isMasked(value)).map(([key]) => key);
  const known = given.filter(([key]) => !secret.includes(key)).map(([key, value]) => [key, value, words(key, value)]);
  return {
    command: ownCommand(
      ...['train', '--config', `${folder}/config.json`, '--algorithm', algorithm],
      ...(config.push_to_hub ? ['--no-push-to-hub'] : []),
      ...known.flatMap(([, , flags]) => (flags as readonly string[] | undefined) ?? []),
      ...again,
    ),
    remarks: [
      ...secret.map((key) => `Add ${flagOf(key)}: it had a secret, which is not stored.`),
      ...known.flatMap(([key, value, flags]) =>
        flags === undefined ? [`Add to the file of --config: ${JSON.stringify({ [key as string]: value })}`] : [],
      ),
    ],
  };
}

/** The words of an option; undefined for a value that only files can hold. */
function words(key: string, value: unknown): readonly string[] | undefined {
  const flag = flagOf(key);
  if (value === true) return [flag];
  if (value === false) return [flag.replace(/^--/, '--no-')];
  if (typeof value === 'string' || typeof value === 'number') return [`${flag}=${value}`];
  if (key === 'rewardOption' && typeof value === 'object' && value !== null && !Array.isArray(value))
    return rewardOptionWords(value as Readonly<Record<string, unknown>>);
  const isList = Array.isArray(value) && !['prompts', 'evalPrompts'].includes(key);
  return isList && value.every((one) => typeof one === 'string') ? value.map((one) => `${flag}=${one}`) : undefined;
}

function rewardOptionWords(byReward: Readonly<Record<string, unknown>>): readonly string[] | undefined {
  const all = Object.entries(byReward).flatMap(([reward, options]) =>
    Object.entries(options as object).map(([name, value]) => [`${reward}.${name}`, value as unknown] as const),
  );
  if (!all.every(([, value]) => ['string', 'number', 'boolean'].includes(typeof value))) return undefined;
  return all.map(([name, value]) => `--reward-option=${name}=${String(value)}`);
}
