import { readFile } from 'node:fs/promises';
import { extname, join, resolve } from 'node:path';
import type { Command } from 'commander';
import { isMasked, record, table } from '@alignprop/autograd-ext/outside';
import { findManifest, type FoundManifest, type RunManifest } from '@alignprop/trainer';
import { UsageError } from '../terminal/errors.js';
import type { ConfigOption } from './config-options.js';
import { manifestSource } from './option-sources.js';
import { pathExists } from '../path-exists.js';
import { joinRewardOptions } from './resumed-reward-options.js';
import type { RewardOptions } from './reward-term-options.js';
import { sourceOfTerm } from './reward-term.js';
import { defaultReward, type RunRewardOptions } from './run-rewards.js';

/** Options that a manifest does not have: they hold for one start, are secret, or say how output is printed. */
const unstored = new Set([
  ...['config', 'dryRun', 'json', 'quiet', 'token', 'force', 'maxMemory', 'threads', 'rankTimeout'],
]);

/** The options by which a model is read. */
const reading = ['revision', 'pretrainedRevision', 'variant', 'modelConfig', 'predictionType'];

/** The options of the manifest that do not hold once another option is given. */
const replaced = table<readonly string[]>({
  model: ['pretrainedModel', ...reading],
  pretrainedModel: ['model', ...reading],
  revision: ['pretrainedRevision'],
  pretrainedRevision: ['revision'],
  lora: ['loraFile', 'loraFreeze'],
  prompt: ['prompts', 'promptColumn', 'negativeColumn', 'weightColumn'],
  prompts: ['prompt', 'promptColumn', 'negativeColumn', 'weightColumn'],
  dataDir: ['priorImages', 'captionColumn'],
  priorImages: ['dataDir', 'captionColumn'],
  engine: ['backend', 'device'],
  device: ['engine', 'backend'],
  backend: ['engine', 'device'],
});

/** The options that name files of prompts, and the names of their copies in the folder of the run. */
const promptCopies = { prompts: 'prompts', evalPrompts: 'eval-prompts' } as const;

type Options = Readonly<Record<string, unknown>>;

/** The run that is resumed, and the values of its options by their keys in commander. */
export interface ResumedOptions extends FoundManifest {
  readonly options: Options;
  /** Name the options of the run that are left out. */
  readonly warnings: readonly string[];
}

/**
 * Sets the options that neither flags nor a configuration file have set to those of the run to resume.
 * @returns undefined if it has neither a manifest nor a checkpoint
 * @throws UsageError if its manifest is damaged, or an option had a secret, which manifests do not hold
 */
export async function applyManifest(
  command: Command,
  fields: readonly ConfigOption[],
  location: string,
): Promise<ResumedOptions | undefined> {
  const found = await findManifest(location).catch((cause: unknown) => {
    throw new UsageError(`--resume-from: ${(cause as Error).message}`, { cause });
  });
  if (!found) return undefined;
  const { manifest, folder } = found;
  checkSameAlgorithm(command, location, manifest);
  const isGiven = (key: string): boolean => ['cli', 'config'].includes(command.getOptionValueSource(key) ?? '');
  const given = command.options.map((option) => option.attributeName()).filter(isGiven);
  const skipped = new Set([...given, ...given.flatMap((key) => replaced[key] ?? []), 'resumeFrom', 'rewardOption']);
  const set = (key: string, value: unknown): void => {
    if (skipped.has(key)) return;
    if (isMasked(value)) refuseMasked(command, key);
    command.setOptionValueWithSource(key, value, manifestSource);
  };
  const known = new Set(command.options.map((option) => option.attributeName()));
  const stored = record<unknown>();
  for (const { field, key } of fields)
    if (Object.hasOwn(manifest.config, field) && !['output_dir', 'overwrite_output_dir'].includes(field))
      stored[key] = manifest.config[field];
  if (folder !== undefined) stored.outputDir = folder;
  stored.algorithm = manifest.algorithm;
  for (const [key, value] of Object.entries(manifest.options ?? {}))
    if (known.has(key)) stored[key] = copyOf(key, value, folder) ?? value;
  for (const [key, value] of Object.entries(stored)) set(key, value);
  return {
    ...found,
    options: stored,
    warnings: applyRewardOptions(command, manifest.options?.rewardOption as RewardOptions | undefined),
  };
}

/** Adds the options of rewards that the run has stored. @returns a warning if some no longer apply */
function applyRewardOptions(command: Command, stored: RewardOptions | undefined): readonly string[] {
  if (stored === undefined) return [];
  const { reward = defaultReward, evalReward = [], rewardOption = [] } = command.opts<Partial<RunRewardOptions>>();
  const { options, dropped } = joinRewardOptions(stored, rewardOption, [reward, evalReward].flat());
  if (isMasked(options)) refuseMasked(command, 'rewardOption');
  if (Object.keys(options).length > 0)
    command.setOptionValueWithSource(
      'rewardOption',
      options,
      command.getOptionValueSource('rewardOption') ?? manifestSource,
    );
  if (dropped.length === 0) return [];
  const [are, they] = dropped.length === 1 ? ['is', 'it'] : ['are', 'they'];
  return [
    `--reward-option: ${dropped.join(', ')} of the run ${are} left out: the reward that ${they} belonged to is gone.`,
  ];
}

/** @throws UsageError if the command asks for another algorithm than that of the run */
function checkSameAlgorithm(command: Command, location: string, { algorithm }: RunManifest): void {
  const given: unknown = command.getOptionValue('algorithm');
  if (given === algorithm || command.getOptionValueSource('algorithm') === 'default') return;
  throw new UsageError(
    `--algorithm: got ${String(given)}, but the run in '${location}' is one of ${algorithm}, expected the same. ` +
      'Leave it out, or start another run in a new --output-dir.',
  );
}

function refuseMasked(command: Command, key: string): never {
  const flag = command.options.find((option) => option.attributeName() === key)?.long ?? key;
  throw new UsageError(
    `--resume-from: ${flag} of the run had a secret, which is not stored with it. Give ${flag} again, as at its start.`,
  );
}

/** The path of the copy of prompts in the folder of the run, if it is there. */
function copyOf(key: string, value: unknown, folder: string | undefined): string | undefined {
  if (folder === undefined || typeof value !== 'string' || !Object.hasOwn(promptCopies, key)) return undefined;
  const copy = join(folder, copyName(key as keyof typeof promptCopies, value));
  return pathExists(copy) ? copy : undefined;
}

const copyName = (key: keyof typeof promptCopies, path: string): string => `${promptCopies[key]}${extname(path)}`;

/** The options, besides the fields of the configuration, from which the run can be started again in any folder. */
export function storedOptions(command: Command, fields: readonly ConfigOption[]): Options {
  const isField = new Set(fields.map(({ key }) => key));
  return Object.fromEntries(
    command.options.flatMap((option) => {
      const key = option.attributeName();
      const isSet = !['default', undefined].includes(command.getOptionValueSource(key));
      if (!isSet || isField.has(key) || unstored.has(key)) return [];
      return [[key, absolute(key, command.getOptionValue(key))]];
    }),
  );
}

/** Makes paths in the value of an option absolute. */
function absolute(key: string, value: unknown): unknown {
  if (Array.isArray(value)) return Object.hasOwn(promptCopies, key) ? value : value.map((item) => absolute(key, item));
  if (typeof value === 'object' && value !== null)
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, absolute(key, inner)]));
  if (typeof value !== 'string') return value;
  const path = pathIn(key, value);
  if (path === undefined || !pathExists(path)) return value;
  const at = value.indexOf(path);
  return `${value.slice(0, at)}${resolve(path)}${value.slice(at + path.length)}`;
}

/** The part of an option's value that may be a path. */
function pathIn(key: string, value: string): string | undefined {
  if (['reward', 'evalReward'].includes(key)) return sourceOfTerm(value);
  if (key === 'rewardOption') return value.slice(value.indexOf('=') + 1);
  if (['model', 'pretrainedModel', 'modelConfig', 'rewardDecoder', 'prompts', 'evalPrompts', 'dataDir'].includes(key))
    return value;
  if (!['embedding', 'lora'].includes(key)) return undefined;
  return pathExists(value) ? value : value.replace(/:[^:/\\]+$/, '');
}

/** The contents of the files of prompts, by the names of their copies in the folder of the run. */
export async function promptFiles(options: Options): Promise<Readonly<Record<string, Uint8Array>>> {
  const files = record<Uint8Array>();
  for (const key of ['prompts', 'evalPrompts'] as const) {
    const path = options[key];
    if (typeof path === 'string') files[copyName(key, path)] = await readFile(path);
  }
  return files;
}
