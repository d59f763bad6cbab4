import { excerptJson, table } from '@alignprop/autograd-ext/outside';
import {
  aesthetic,
  clipScore,
  graphModel,
  hpsV2,
  imageReward,
  jpegCompressibility,
  jpegIncompressibility,
  nsfwSafety,
  objectDetection,
  pickScore,
  type GraphModelOptions,
  type ModelReward,
} from '@alignprop/rewards';
import { UsageError } from '../terminal/errors.js';

/** The type of an option's value: text, a number, comma-separated numbers, or one of the listed words. */
type OptionKind = 'text' | 'number' | 'numbers' | readonly string[];
type OptionKinds = Readonly<Record<string, OptionKind>>;
type OptionValue = string | number | readonly number[];

interface ListedReward {
  readonly options: OptionKinds;
  /** Options without a default. */
  readonly required?: readonly string[];
  /** Whether the reward compares images with their prompts. */
  readonly usesPrompt?: boolean;
  /** Creates the reward and leaves its weights in their files. */
  readonly create: (values: Readonly<Record<string, OptionValue>>) => ModelReward | Promise<ModelReward>;
}

/** Lists a reward by its factory and the options that the command passes on to it. `listedReward` checks the values. */
const listed = <O>(
  factory: (options: O) => ModelReward | Promise<ModelReward>,
  options: OptionKinds,
  more: Pick<ListedReward, 'required' | 'usesPrompt'> = {},
): ListedReward => ({ options: table(options), ...more, create: (values) => factory({ ...values, load: false } as O) });

/** `graphModel`, with the output given by its name or by its index in digits. */
const graphModelByText = ({ output, ...options }: Omit<GraphModelOptions, 'output'> & { output?: string }) =>
  graphModel({ ...options, output: output !== undefined && /^\d+$/.test(output) ? Number(output) : output });

const clip = { weights: 'text', tokenizer: 'text' } as const;
const hpsOptions = { ...clip, version: ['v2', 'v2.1'], mode: ['bilinear', 'bicubic'] } as const;
const detectorOptions = {
  target: 'text',
  goal: ['absent', 'present'],
  weights: 'text',
  threshold: 'number',
  height: 'number',
} as const;
const graphOptions = { model: 'text', output: 'text', score: 'numbers' } as const;

const rewards = table<ListedReward>({
  aesthetic: listed(aesthetic, { weights: 'text', head: 'text' }),
  'clip-score': listed(clipScore, { ...clip, form: ['cosine', 'paper', 'percent'] }, { usesPrompt: true }),
  'pick-score': listed(pickScore, clip, { usesPrompt: true }),
  'hps-v2': listed(hpsV2, hpsOptions, { usesPrompt: true }),
  'image-reward': listed(imageReward, { ...clip, visionHeads: 'number' }, { usesPrompt: true }),
  'object-detection': listed(objectDetection, detectorOptions, { required: ['target'] }),
  'graph-model': listed(graphModelByText, graphOptions, { required: ['model', 'score'] }),
  'nsfw-safety': listed(nsfwSafety, { model: 'text' }),
  'jpeg-compressibility': listed(jpegCompressibility, { quality: 'number' }),
  'jpeg-incompressibility': listed(jpegIncompressibility, { quality: 'number' }),
});

/** The rewards that the command knows by name. */
export const rewardNames: readonly string[] = Object.keys(rewards);
export const isListedReward = (name: string): boolean => Object.hasOwn(rewards, name);
/** The options of a listed reward as flags spell them: `vision-heads`. */
export const rewardOptionNames = (name: string): readonly string[] => Object.keys(rewards[name]!.options).map(kebab);
/** Whether the reward is listed and has a model, which may have to be downloaded. */
export const hasWeights = (name: string): boolean =>
  isListedReward(name) && ['weights', 'model'].some((option) => Object.hasOwn(rewards[name]!.options, option));
/** Whether the reward is listed and compares images with their prompts. */
export const usesPrompt = (name: string): boolean => isListedReward(name) && rewards[name]!.usesPrompt === true;

/**
 * Checks the options of a listed reward.
 * @param given values by option, as flags or a configuration file give them
 * @returns a function that creates the reward
 * @throws UsageError at once if an option is unknown or missing, or its value does not fit
 */
export function listedReward(name: string, given: Readonly<Record<string, unknown>>): () => Promise<ModelReward> {
  const { options, required = [], create } = rewards[name]!;
  const values = Object.fromEntries(
    Object.entries(given).map(([option, value]) => {
      const key = camel(option);
      const kind = options[key];
      if (kind !== undefined) return [key, parseOption(`${name}.${option}`, value, kind)];
      const known = rewardOptionNames(name).map((one) => `${name}.${one}`);
      throw new UsageError(`--reward-option: got '${name}.${option}', expected one of ${known.join(', ')}.`);
    }),
  );
  const missing = required.find((option) => !Object.hasOwn(values, option));
  if (missing) throw new UsageError(`--reward: '${name}' needs an option: --reward-option ${name}.${kebab(missing)}=…`);
  return async () => create(values);
}

const kebab = (name: string): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
const camel = (name: string): string => name.replace(/[-_](.)/g, (_, letter: string) => letter.toUpperCase());

function parseOption(name: string, value: unknown, kind: OptionKind): OptionValue {
  const parts: readonly unknown[] = [value].flat();
  const text = parts.some((part) => typeof part === 'object') ? '' : parts.join(',');
  const problem = (expected: string) =>
    new UsageError(`--reward-option: ${name} got '${text || excerptJson(value)}', expected ${expected}.`);
  if (text.trim() === '') throw problem('a value');
  if (kind === 'text') return text;
  if (kind === 'number' || kind === 'numbers') {
    const numbers = text.split(',').map(Number);
    if (!numbers.every(Number.isFinite) || (kind === 'number' && numbers.length > 1))
      throw problem(kind === 'number' ? 'a number' : 'numbers with commas between them');
    return kind === 'number' ? numbers[0]! : numbers;
  }
  if (kind.includes(text)) return text;
  throw problem(`one of ${kind.join(', ')}`);
}
