import { isTensor } from '@alignprop/autograd-ext';
import { cast, reshape, stack, tensor1d, type Tensor, type Tensor1D } from '@tensorflow/tfjs-core';

/** Scores as people write them: a tensor, numbers, or one number for a single image; `[B]` or `[B, 1]`. */
export type Scores = Tensor | number | ArrayLike<number> | readonly (readonly [number])[];

/** The values that a reward without a gradient may return: the scores, alone or as TRL's pair `(rewards, info)`. */
export type ReturnedScores = Scores | readonly [scores: Scores, info: object | null | undefined];

/** The call of a reward, for the messages about what it returned. */
export interface RewardCall {
  /** Names the reward, as `rewardName` does. */
  readonly reward: string;
  /** The number of images. */
  readonly batch: number;
}

/**
 * Names a reward in messages: `rewardFunction './my-reward.mjs'`. A function without a name of its own is
 * `rewardFunction`.
 */
export const rewardName = ({ name }: { readonly name: string }): string =>
  ['', 'default', 'plain', 'reward', 'rewardFunction'].includes(name) ? 'rewardFunction' : `rewardFunction '${name}'`;

/**
 * Returns the scores that a differentiable reward returned. Keeps the gradient of tensors; numbers have none.
 * @returns `[B]`, float32
 * @throws if it is a promise, or no score for each image
 */
export function scoresTensor(returned: unknown, call: RewardCall): Tensor1D {
  if (isPromise(returned)) {
    returned.then(undefined, () => {}); // whatever becomes of it, this error is reported
    throw new Error(
      `${call.reward}: returned a promise (an async function), expected a tensor [${call.batch}] at once: AlignProp ` +
        'backpropagates through the reward. Write it with tfjs operations, without await and data(). A reward ' +
        "without a gradient may be async: in DDPOTrainer, in 'alignprop score' and as the evaluation's reward.",
    );
  }
  const scores = scoresIn(returned, call.batch);
  if (scores === undefined) throw wrongScores(returned, call);
  if (!isTensor(scores)) {
    const constants = tensor1d(scores);
    sources.set(constants, describeValue(returned));
    return constants;
  }
  const column = scores.rank === 1 ? (scores as Tensor1D) : (reshape(scores, [call.batch]) as Tensor1D);
  return column.dtype === 'float32' ? column : cast(column, 'float32');
}

const sources = new WeakMap<Tensor, string>();

/** Describes what `scoresTensor` made a tensor of, if these were numbers; 'scores' otherwise. */
export const sourceOfScores = (scores: Tensor): string => sources.get(scores) ?? 'scores';

/**
 * Reads the scores that any reward returned, after its promise is fulfilled. Disposes a returned tensor.
 * @returns one number an image
 * @throws if there is no score for each image
 */
export async function scoreNumbers(returned: unknown, call: RewardCall): Promise<number[]> {
  const settled: unknown = await returned;
  const scores = scoresIn(settled, call.batch);
  if (scores === undefined) throw wrongScores(settled, call);
  if (!isTensor(scores)) return scores;
  return Array.from(await scores.data().finally(() => scores.dispose()));
}

export const isPromise = (value: unknown): value is PromiseLike<unknown> =>
  typeof (value as PromiseLike<unknown> | undefined | null)?.then === 'function';

/** Returns the scores of a returned value or of the first entry of a pair; undefined if there are none that fit. */
function scoresIn(returned: unknown, batch: number): Tensor | number[] | undefined {
  const scores = fittingScores(returned, batch);
  if (scores !== undefined || !Array.isArray(returned) || returned.length !== 2) return scores;
  const [first, info] = returned as [unknown, unknown];
  return isInfo(info) ? fittingScores(first, batch) : undefined;
}

/** The second entry of TRL's pair: an object, a list of objects, or nothing. */
const isInfo = (value: unknown): boolean =>
  value === undefined ||
  (typeof value === 'object' &&
    !isTensor(value) &&
    !ArrayBuffer.isView(value) &&
    !(Array.isArray(value) && value.some((entry) => typeof entry !== 'object' || isTensor(entry))));

function fittingScores(value: unknown, batch: number): Tensor | number[] | undefined {
  if (isTensor(value)) return isScoresTensor(value, batch) ? value : undefined;
  if (typeof value === 'number') return batch === 1 ? [value] : undefined;
  const list = listOf(value);
  if (list?.length !== batch) return undefined;
  const entries = list.map((entry) => (listOf(entry)?.length === 1 ? listOf(entry)![0] : entry));
  if (entries.every((entry) => typeof entry === 'number')) return entries;
  if (!entries.every((entry): entry is Tensor => isTensor(entry) && isScoresTensor(entry, 1))) return undefined;
  return stack(entries.map((entry) => reshape(cast(entry, 'float32'), [])));
}

const isScoresTensor = ({ size, shape, dtype, isDisposed }: Tensor, batch: number): boolean =>
  !isDisposed && size === batch && (shape[0] ?? 1) === batch && dtype !== 'string' && dtype !== 'complex64';

/** The entries of an array or of a typed array. */
function listOf(value: unknown): readonly unknown[] | undefined {
  if (Array.isArray(value)) return value as readonly unknown[];
  return ArrayBuffer.isView(value) && !(value instanceof DataView) ? Array.from(value as Float32Array) : undefined;
}

function wrongScores(returned: unknown, { reward, batch }: RewardCall): Error {
  return new Error(
    `${reward}: returned ${describeValue(returned)}, expected a tensor [${batch}]` +
      `${batch === 1 ? ' or a number' : ` or ${batch} numbers`}, one score an image.`,
  );
}

/** Describes a value in a few words: `an array of 2 strings [a, b]`, `a tensor of shape [2, 8, 8, 3]`. */
export function describeValue(value: unknown): string {
  if (value === undefined) return 'nothing (undefined)';
  if (value === null) return 'null';
  if (isTensor(value))
    return value.isDisposed
      ? 'a tensor that is disposed already'
      : `a tensor of shape [${value.shape.join(', ')}]${value.dtype === 'float32' ? '' : ` and dtype ${value.dtype}`}`;
  if (Array.isArray(value)) return describeList(value);
  if (typeof value === 'number') return `a number (${value})`;
  if (typeof value === 'string') return `a string ('${shortened(value)}')`;
  if (typeof value === 'function') return isClass(value) ? 'a class' : 'a function';
  if (typeof value !== 'object') return `a ${typeof value} (${String(value as boolean | bigint | symbol)})`;
  if (isPromise(value)) return 'a promise';
  if (ArrayBuffer.isView(value))
    return `a ${value.constructor.name} of ${counted((value as Uint8Array).length, 'number')}`;
  const keys = Object.keys(value);
  return keys.length === 0 ? 'an empty object' : `an object with the keys ${shortened(keys.join(', '))}`;
}

function describeList(list: readonly unknown[]): string {
  const kinds = new Set(list.map((entry) => (entry === null ? 'null' : typeof entry)));
  const [kind = 'value'] = kinds.size === 1 && !kinds.has('object') && !kinds.has('null') ? kinds : ['value'];
  const shown = list.slice(0, 3).map((entry) => (typeof entry === 'number' ? `${entry}` : describeEntry(entry)));
  return `an array of ${counted(list.length, kind)} [${shown.join(', ')}${list.length > 3 ? ', …' : ''}]`;
}

function describeEntry(entry: unknown): string {
  if (Array.isArray(entry)) return `an array of ${entry.length}`;
  return typeof entry === 'string' ? `'${shortened(entry)}'` : describeValue(entry);
}

const counted = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`;
const shortened = (text: string): string => (text.length > 40 ? `${text.slice(0, 40)}…` : text);

/** Whether a function is a class, which cannot be called without `new`. */
export const isClass = (value: unknown): boolean =>
  typeof value === 'function' && /^class\b/.test(Function.prototype.toString.call(value));
