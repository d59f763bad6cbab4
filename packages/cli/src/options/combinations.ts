import { resolve, sep } from 'node:path';
import type { Command, Option } from 'commander';
import type { BackendName, Device, EngineName } from '@alignprop/autograd-ext';
import { UsageError } from '../terminal/errors.js';
import { collectLora, type LoraChoice } from './lora-options.js';
import { precisionOf, precisions, type MixedPrecision } from './engine-options.js';
import { manifestSource } from './option-sources.js';

/** The options of a command after flags, configuration file and manifest are merged. */
export interface MergedOptions {
  /** The value of an option by its name in kebab case. */
  value(name: string): unknown;
  /** Whether an option is set by whatever source, and its value is neither null nor empty. */
  isSet(name: string): boolean;
}

/** An option that has no effect beside, or without, others. */
export interface Combination {
  /** In kebab case. */
  readonly option: string;
  /** The commands that refuse it; by default all that have the option. */
  readonly commands?: readonly string[];
  /** Returns why the option has no effect and what to do; undefined if it has one. */
  problem(options: MergedOptions): string | undefined;
}

const needs = (option: string, ...others: readonly string[]): Combination => ({
  option,
  problem: ({ isSet }) =>
    others.some(isSet) ? undefined : `has no effect without --${others[0]}. Give --${others[0]}, or leave it out.`,
});

const excludes = (option: string, other: string, isExcluded: (options: MergedOptions) => boolean): Combination => ({
  option,
  problem: (options) => (isExcluded(options) ? `has no effect with ${other}. Leave one of them out.` : undefined),
});

const isTfjs = ({ value }: MergedOptions): boolean => value('engine') === 'tfjs';
const isTfjsByBackend = ({ isSet }: MergedOptions): boolean => isSet('backend') && !isSet('engine') && !isSet('device');
/** The only backend of tfjs that takes a number of threads. */
const isTensorflow = ({ value }: MergedOptions): boolean => value('backend') === 'tensorflow';
/** Whether an adapter has no weight of its own. @param lora adapters as text, or parsed; none, or unset */
const hasUnweighted = (lora: unknown): boolean => {
  const all = [lora ?? []].flat() as unknown as readonly (string | LoraChoice)[];
  return (
    all.length === 0 || all.some((one) => (typeof one === 'string' ? collectLora(one)[0]! : one).weight === undefined)
  );
};
/** Whether a path is a folder or in it. */
const isInside = (folder: unknown, path: unknown): boolean =>
  `${resolve(String(path))}${sep}`.startsWith(`${resolve(String(folder))}${sep}`);
const hasDataWeight = ({ value }: MergedOptions): boolean => Number(value('data-weight')) > 0;
const startsFromData = ({ value }: MergedOptions): boolean => value('estimator-images') === 'dataset';
const hasEstimator = ({ isSet }: MergedOptions): boolean => isSet('estimator') || isSet('backprop-strategy');

/** All combinations that are refused. Those of fields of the configuration alone are refused by its schema. */
export const combinations: readonly Combination[] = [
  ...['lora-scale', 'lora-anneal', 'lora-freeze'].map((option) => needs(option, 'lora')),
  {
    option: 'lora-scale',
    problem: ({ value }) =>
      hasUnweighted(value('lora')) ? undefined : 'has no effect: every adapter of --lora has a weight. Leave it out.',
  },
  {
    ...needs('lora-scale', 'lora-freeze'), // an adapter that goes on training is as strong as it is
    commands: ['train', 'resume'],
  },
  { ...needs('lora-file', 'lora'), commands: ['train', 'resume', 'generate'] }, // export has it as an argument
  ...['revision', 'pretrained-revision', 'variant', 'model-config', 'prediction-type'].map((option) => ({
    ...needs(option, 'model', 'pretrained-model'),
    commands: ['train', 'resume', 'generate', 'export'], // convert has the model as an argument
  })),
  ...['mix-coefficient', 'mix-mode'].map((option) => needs(option, 'mix')),
  ...['prompt-column', 'negative-column'].map((option) => needs(option, 'prompts', 'eval-prompts')),
  needs('strength', 'image'),
  needs('weight-column', 'prompts'),
  excludes('reward-decoder', '--algorithm ddpo', ({ value }) => value('algorithm') === 'ddpo'),
  ...['eval-freq', 'eval-reward', 'eval-images-per-prompt', 'eval-num-steps', 'eval-eta', 'eval-guidance-scale'].map(
    (option) => needs(option, 'eval-prompts', 'guard'),
  ),
  ...['eval-negative-prompts', 'eval-height', 'eval-width', 'eval-seed'].map((option) =>
    needs(option, 'eval-prompts', 'guard'),
  ),
  needs('caption-column', 'data-dir'),
  excludes('prior-images', '--data-dir, whose pictures are trained on', ({ isSet }) => isSet('data-dir')),
  ...['prior-images', 'data-batch-size', 'data-caption-dropout'].map((option) => ({
    option,
    problem: (options: MergedOptions) =>
      hasDataWeight(options)
        ? undefined
        : 'has no effect without --data-weight above 0. Give --data-weight, or leave it out.',
  })),
  {
    option: 'data-dir',
    problem: (options) =>
      hasDataWeight(options) || startsFromData(options)
        ? undefined
        : 'has no effect without --data-weight above 0 or --estimator-images dataset. Give one, or leave it out.',
  },
  {
    option: 'estimator-images',
    problem: (options) =>
      startsFromData(options) && !options.isSet('data-dir')
        ? 'has no effect without --data-dir, whose pictures it starts from. Give --data-dir, or leave it out.'
        : undefined,
  },
  ...['prompts', 'prompt'].map((option) =>
    excludes(option, '--estimator-images dataset, whose captions are the prompts', startsFromData),
  ),
  needs('force', 'resume-from'),
  ...['device', 'max-memory'].map((option) => excludes(option, '--engine tfjs', isTfjs)),
  excludes('max-memory', '--backend, which selects tfjs', isTfjsByBackend),
  excludes('threads', '--engine tfjs', (options) => isTfjs(options) && !isTensorflow(options)),
  excludes('threads', '--backend, which selects tfjs', (options) => isTfjsByBackend(options) && !isTensorflow(options)),
  excludes('backend', '--engine onnxruntime', ({ value }) => value('engine') === 'onnxruntime'),
  excludes('backend', '--device, which selects onnxruntime', ({ isSet }) => isSet('device') && !isSet('engine')),
  ...['lora-rank', 'lora-alpha', 'lora-target-modules', 'lora-init', 'lora'].map((option) =>
    excludes(option, '--no-use-lora', ({ value }) => value('use-lora') === false && value('lora-freeze') !== true),
  ),
  excludes(
    'truncated-backprop-timestep',
    '--truncated-backprop-rand, which is the default',
    (options) => options.value('truncated-backprop-rand') === true && !hasEstimator(options),
  ),
  excludes(
    'truncated-rand-backprop-minmax',
    '--no-truncated-backprop-rand',
    (options) => options.value('truncated-backprop-rand') === false && !hasEstimator(options),
  ),
  excludes(
    'overwrite-output-dir',
    '--resume-from of the same folder, which goes on with the run in it',
    ({ value, isSet }) => isSet('resume-from') && isInside(value('output-dir'), value('resume-from')),
  ),
  {
    option: 'mixed-precision',
    commands: ['generate'], // a run warns, since TRL's configurations ask for fp16
    problem: ({ value }) => {
      const [engine, backend, device] = ['engine', 'backend', 'device'].map(value) as [EngineName, BackendName, Device];
      const mixed = value('mixed-precision') as MixedPrecision;
      if (precisionOf(mixed, { engine, backend, device }) === precisions[mixed]) return undefined;
      return (
        `got ${mixed} for ${device ?? engine ?? 'cpu'}, expected no there. ` +
        'Give --device webgpu or another device with fp16, or --backend tensorflow.'
      );
    },
  },
];

/** Values of options by their keys in commander. */
type OptionValues = Readonly<Record<string, unknown>>;

/**
 * Refuses options that flags or the configuration file have set and that have no effect beside the others.
 * @param places where the configuration file sets options, by their names in snake case
 * @param run the options of the run that is resumed
 * @returns a warning for each option of that run which has no effect any more
 * @throws UsageError for the first option that is refused
 */
export function checkCombinations(
  command: Command,
  places: ReadonlyMap<string, string> = new Map(),
  run: OptionValues = {},
): readonly string[] {
  const merged = mergedOptions(command);
  const before = optionsOf(command, (key) => (Object.hasOwn(run, key) ? { value: run[key], source: 'run' } : {}));
  return combinations.flatMap(({ option, commands, problem }) => {
    const found = findOption(command, option);
    if (!found || (commands && !commands.includes(command.name()))) return [];
    const text = isChosen(command, found, ['cli', 'config', manifestSource]) ? problem(merged) : undefined;
    if (text === undefined) return [];
    const snake = option.replaceAll('-', '_');
    if (!isChosen(command, found, ['cli', 'config']))
      return problem(before) === undefined ? [`${snake} of the run ${text.replace(/\..*/s, ' any more.')}`] : [];
    const place = places.get(snake);
    throw new UsageError(place === undefined ? `--${option}: ${text}` : `${snake}: ${text} (${place})`);
  });
}

const mergedOptions = (command: Command): MergedOptions =>
  optionsOf(command, (key) => ({ value: command.getOptionValue(key), source: command.getOptionValueSource(key) }));

/** @param read returns the value of an option and what has set it, if anything has */
function optionsOf(command: Command, read: (key: string) => { value?: unknown; source?: string }): MergedOptions {
  const value = (name: string): unknown => {
    const option = findOption(command, name);
    return option && (read(option.attributeName()).value ?? option.defaultValue);
  };
  const isSet = (name: string): boolean => {
    const option = findOption(command, name);
    const source = option && read(option.attributeName()).source;
    const isEmpty = [undefined, null, '', false].includes(value(name) as never);
    return ![undefined, 'default'].includes(source) && !isEmpty;
  };
  return { value, isSet };
}

/** Whether one of the sources has set an option, and those that name all options to another value than the default. */
function isChosen(command: Command, option: Option, sources: readonly string[]): boolean {
  const source = command.getOptionValueSource(option.attributeName());
  const value = command.getOptionValue(option.attributeName()) as unknown;
  if (value === false || value === null || !source || !sources.includes(source)) return false;
  return source === 'cli' || JSON.stringify(value) !== JSON.stringify(option.defaultValue);
}

const findOption = (command: Command, name: string): Option | undefined =>
  command.options.find((option) => option.name() === name && !option.negate);
