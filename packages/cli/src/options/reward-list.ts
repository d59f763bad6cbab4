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

/** How an option of a reward is written: text, a number, numbers with commas between them, or one of a few words. */
type OptionKind = 'text' | 'number' | 'numbers' | readonly string[];
type Options = Readonly<Record<string, string | number | readonly number[]>>;

interface ListedReward {
  readonly options: Readonly<Record<string, OptionKind>>;
  /** Options that have no default. */
  readonly required?: readonly string[];
  /** Whether it compares images with their prompts. */
  readonly usesPrompt?: boolean;
  /** With its weights still in their files. */
  readonly make: (options: Options) => ModelReward | Promise<ModelReward>;
}

/** Takes what was checked against `options` for what the factory calls it; an engine reads the weights. */
const from =
  <O>(factory: (options: O) => ModelReward | Promise<ModelReward>): ListedReward['make'] =>
  (options) =>
    factory({ ...options, load: false } as O);

/** An output's name, or its place. */
const place = (text?: string): string | number | undefined =>
  text !== undefined && /^\d+$/.test(text) ? Number(text) : text;

const clip = { weights: 'text', tokenizer: 'text' } as const;

const rewards: Readonly<Record<string, ListedReward>> = {
  aesthetic: { options: { weights: 'text', head: 'text' }, make: from(aesthetic) },
  'clip-score': { options: { ...clip, form: ['cosine', 'paper', 'percent'] }, usesPrompt: true, make: from(clipScore) },
  'pick-score': { options: clip, usesPrompt: true, make: from(pickScore) },
  'hps-v2': {
    options: { ...clip, version: ['v2', 'v2.1'], mode: ['bilinear', 'bicubic'] },
    usesPrompt: true,
    make: from(hpsV2),
  },
  'image-reward': { options: { ...clip, visionHeads: 'number' }, usesPrompt: true, make: from(imageReward) },
  'object-detection': {
    options: { target: 'text', goal: ['absent', 'present'], weights: 'text', threshold: 'number', height: 'number' },
    required: ['target'],
    make: from(objectDetection),
  },
  'graph-model': {
    options: { model: 'text', output: 'text', score: 'numbers' },
    required: ['model', 'score'],
    make: from(({ output, ...options }: { output?: string } & Omit<GraphModelOptions, 'output'>) =>
      graphModel({ ...options, output: place(output) }),
    ),
  },
  'nsfw-safety': { options: { model: 'text' }, make: from(nsfwSafety) },
  'jpeg-compressibility': { options: { quality: 'number' }, make: from(jpegCompressibility) },
  'jpeg-incompressibility': { options: { quality: 'number' }, make: from(jpegIncompressibility) },
};

export const rewardNames: readonly string[] = Object.keys(rewards);
export const isListedReward = (name: string): boolean => Object.hasOwn(rewards, name);
export const hasWeights = (name: string): boolean =>
  isListedReward(name) && ['weights', 'model'].some((option) => option in rewards[name]!.options);
export const usesPrompt = (name: string): boolean => isListedReward(name) && rewards[name]!.usesPrompt === true;

/**
 * Checks a listed reward's options as they were written, and makes it when asked to.
 * @throws (at once) if an option is unknown, missing, or has no such value
 */
export function listedReward(name: string, written: Readonly<Record<string, unknown>>): () => Promise<ModelReward> {
  const { options, required = [], make } = rewards[name]!;
  const given = Object.fromEntries(
    Object.entries(written).map(([option, value]) => {
      const key = option.replace(/[-_](.)/g, (_, letter: string) => letter.toUpperCase());
      return [
        key,
        readOption(
          `${name}.${option}`,
          value,
          options[key],
          Object.keys(options).map((known) => `${name}.${kebab(known)}`),
        ),
      ];
    }),
  );
  const missing = required.find((option) => !(option in given));
  if (missing) throw new UsageError(`--reward: '${name}' needs an option: --reward-option ${name}.${kebab(missing)}=…`);
  return async () => make(given);
}

const kebab = (name: string): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

function readOption(
  name: string,
  value: unknown,
  kind: OptionKind | undefined,
  known: readonly string[],
): Options[string] {
  const text = Array.isArray(value) ? value.join(',') : String(value);
  const problem = (expected: string) => new UsageError(`--reward-option: ${name} got '${text}', expected ${expected}.`);
  if (kind === undefined) throw new UsageError(`--reward-option: got '${name}', expected one of ${known.join(', ')}.`);
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
