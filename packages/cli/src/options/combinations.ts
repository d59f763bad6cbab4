import type { Command, Option } from 'commander';
import { UsageError } from '../terminal/errors.js';
import { precisionOf, type EngineOptions } from './engine-options.js';

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
const hasEstimator = ({ isSet }: MergedOptions): boolean => isSet('estimator') || isSet('backprop-strategy');

/** All combinations that are refused. Those of fields of the configuration alone are refused by its schema. */
export const combinations: readonly Combination[] = [
  ...['lora-scale', 'lora-file', 'lora-anneal', 'lora-freeze'].map((option) => needs(option, 'lora')),
  ...['revision', 'pretrained-revision', 'variant'].map((option) => needs(option, 'model', 'pretrained-model')),
  ...['mix-coefficient', 'mix-mode'].map((option) => needs(option, 'mix')),
  ...['prompt-column', 'negative-column'].map((option) => needs(option, 'prompts', 'eval-prompts')),
  needs('weight-column', 'prompts'),
  ...['eval-freq', 'eval-reward', 'eval-images-per-prompt', 'eval-num-steps', 'eval-eta', 'eval-guidance-scale'].map(
    (option) => needs(option, 'eval-prompts'),
  ),
  ...['eval-negative-prompts', 'eval-height', 'eval-width', 'eval-seed'].map((option) => needs(option, 'eval-prompts')),
  needs('force', 'resume-from'),
  ...['device', 'threads', 'max-memory'].map((option) => excludes(option, '--engine tfjs', isTfjs)),
  ...['threads', 'max-memory'].map((option) => excludes(option, '--backend, which selects tfjs', isTfjsByBackend)),
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
    ({ value, isSet }) => isSet('resume-from') && value('output-dir') === value('resume-from'),
  ),
  {
    option: 'precision',
    problem: ({ value }) => {
      const {
        engine,
        backend,
        device,
        precision = 'float32',
      } = Object.fromEntries(
        ['engine', 'backend', 'device', 'precision'].map((name) => [name, value(name)]),
      ) as EngineOptions;
      const mixed = ({ float32: 'no', float16: 'fp16', bfloat16: 'bf16' } as const)[precision];
      if (precisionOf(mixed, { engine, backend, device }) === precision) return undefined;
      return (
        `got ${precision} for ${device ?? engine ?? 'cpu'}, expected float32 there. ` +
        'Give --device webgpu or another device with float16, or --backend tensorflow.'
      );
    },
  },
];

/**
 * Refuses options that flags or the configuration file have set and that have no effect beside the others.
 * @param places where the configuration file sets options, by their names in snake case
 * @throws UsageError for the first of them
 */
export function checkCombinations(command: Command, places: ReadonlyMap<string, string> = new Map()): void {
  const options = mergedOptions(command);
  for (const { option, problem } of combinations) {
    const found = findOption(command, option);
    if (!found || !isChosen(command, found)) continue;
    const text = problem(options);
    if (text === undefined) continue;
    const snake = option.replaceAll('-', '_');
    const place = places.get(snake);
    throw new UsageError(place === undefined ? `--${option}: ${text}` : `${snake}: ${text} (${place})`);
  }
}

function mergedOptions(command: Command): MergedOptions {
  const value = (name: string): unknown => {
    const option = findOption(command, name);
    return option && (command.getOptionValue(option.attributeName()) as unknown);
  };
  const isSet = (name: string): boolean => {
    const option = findOption(command, name);
    const source = option && command.getOptionValueSource(option.attributeName());
    const isEmpty = [undefined, null, '', false].includes(value(name) as never);
    return ![undefined, 'default'].includes(source) && !isEmpty;
  };
  return { value, isSet };
}

/** Whether a flag has set an option, or the configuration file to another value than the default. */
function isChosen(command: Command, option: Option): boolean {
  const source = command.getOptionValueSource(option.attributeName());
  const value = command.getOptionValue(option.attributeName()) as unknown;
  if (value === false || value === null) return false;
  return source === 'cli' || (source === 'config' && JSON.stringify(value) !== JSON.stringify(option.defaultValue));
}

const findOption = (command: Command, name: string): Option | undefined =>
  command.options.find((option) => option.name() === name && !option.negate);
