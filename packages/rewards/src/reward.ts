import {
  disposeFrozen,
  flattenTensors,
  isTensor,
  mapTensors,
  readFrozen,
  RecordingError,
  type ModelFunction,
  type Params,
  type StoredTensor,
} from '@alignprop/autograd-ext';
import { tidy, type Tensor, type Tensor1D, type Tensor4D } from '@tensorflow/tfjs-core';
import { rewardName, scoresTensor, type ReturnedScores } from './returned-scores.js';

/** The state of the run that calls a reward, for rewards that change on a schedule. */
export interface RewardContext {
  /** Optimizer steps taken so far; 0 outside of a run. */
  readonly step: number;
  /** Epochs completed so far: AlignProp has one step an epoch. */
  readonly epoch: number;
}

/** The context of a call outside of a run. */
export const outsideRun: RewardContext = { step: 0, epoch: 0 };

/**
 * Scores each image of a batch; higher is better. A reward is a plain function of tfjs ops: pure, synchronous and
 * differentiable in the images. It reads no tensor values, scores each image independently of the rest of the batch,
 * and disposes neither its inputs nor its result.
 * @param images `[B, H, W, 3]`, RGB in [0, 1]
 * @param prompts B prompts, one an image
 * @param promptMetadata B values, one an image: what the prompt function returned beside the prompt
 * @param context the step and the epoch; trainers, `scoreImages` and combinations always pass it
 * @returns scores `[B]`; also `[B, 1]`, B scalars in an array, or any of these first in a pair `[scores, info]`
 */
export type RewardFunction<M = unknown> = (
  images: Tensor4D,
  prompts: readonly string[],
  promptMetadata: readonly M[],
  context?: RewardContext,
) => Tensor1D;

/**
 * Scores each image of a batch without a gradient: it may read pixels, be async, and ask a service. Takes what a
 * `RewardFunction` takes; the images stay the caller's, and a returned tensor becomes the caller's. An async function
 * disposes the tensors that it creates.
 */
export type BlackBoxReward<M = unknown> = (
  images: Tensor4D,
  prompts: readonly string[],
  promptMetadata: readonly M[],
  context?: RewardContext,
) => ReturnedScores | Promise<ReturnedScores>;

/** A reward that reports terms beside its scores, such as the parts of a weighted sum. */
export interface DetailedReward<M = unknown> extends RewardFunction<M> {
  /** The names of the outputs after the scores. */
  readonly terms: readonly string[];
  /** Takes the reward's arguments. Returns the scores, then one output for each of `terms`, `[B]` each. */
  readonly outputs: (
    images: Tensor4D,
    prompts: readonly string[],
    promptMetadata: readonly M[],
    context?: RewardContext,
  ) => readonly [Tensor1D, ...Tensor1D[]];
  /** State that changes between calls, such as running statistics. A reward without it never changes. */
  readonly memory?: RewardMemory;
}

/**
 * State that a reward learns from its own scores. A trainer passes it the scores of each step, and saves it in
 * checkpoints.
 */
export interface RewardMemory {
  /**
   * Updates the state with the scores of a step. Only later calls of the reward change.
   * @param terms every term's values by name, for all images of the step; the same on every process
   */
  observe(terms: Readonly<Record<string, Float32Array>>): void;
  /** Returns the state as plain JSON. */
  state(): unknown;
  /** @throws if `state` is not a state of this reward; the current state is then unchanged */
  restore(state: unknown): void;
}

/** A reward in parts: weights, inputs computed from prompts, and a score function that an engine can compile. */
export interface RewardModel<M = unknown> {
  /** Frozen weights, in memory or in files (`StoredTensor`). */
  readonly params: Params;
  /** Computes further inputs of `score`, such as token ids. Their shapes depend only on the number of prompts. */
  inputs?(prompts: readonly string[], promptMetadata: readonly M[], context?: RewardContext): readonly Tensor[];
  /**
   * Maps `(params, images, ...inputs)` to scores `[B]`, then one output `[B]` for each of `terms`. Pure, like a
   * `RewardFunction`.
   */
  readonly score: ModelFunction;
  readonly terms?: readonly string[];
  /** State of the reward; it reaches `score` through `inputs`. */
  readonly memory?: RewardMemory;
}

/** A reward that can be called, and whose parts an engine can compile. */
export interface ModelReward<M = unknown> extends DetailedReward<M> {
  readonly model: RewardModel<M>;
  /** Frees the weights that `loadReward` read. The reward cannot be called after that. */
  dispose(): void;
}

/** Creates a reward from its parts. To call it directly, read its weights into memory first: see `loadReward`. */
export function defineReward<M = unknown>(model: RewardModel<M>): ModelReward<M> {
  const outputs: DetailedReward<M>['outputs'] = (images, ...args) => {
    checkLoaded(model.params);
    return tidy(
      () => [model.score(model.params, images, ...(model.inputs?.(...args) ?? []))].flat() as [Tensor1D, ...Tensor1D[]],
    );
  };
  const { terms = [], memory } = model;
  return Object.assign(scoresOf(outputs), { outputs, terms, memory, model, dispose: () => {} });
}

/** Returns a function that calls `outputs` and keeps only the scores. */
export const scoresOf =
  <M>(outputs: DetailedReward<M>['outputs']): RewardFunction<M> =>
  (...args) =>
    tidy(() => outputs(...args)[0]);

/**
 * Returns the reward as a `DetailedReward`. A plain function has no terms; its scores may be what `scoresTensor` takes.
 * @throws when called, if the function returns no score for each image, or throws
 */
export function detailed<M>(reward: RewardFunction<M>): DetailedReward<M> {
  if (typeof (reward as Partial<DetailedReward<M>>).outputs === 'function') return reward as DetailedReward<M>;
  const call = { reward: rewardName(reward) };
  const plain: RewardFunction<M> = (...args) =>
    scoresTensor(
      named(call.reward, () => reward(...args)),
      { ...call, batch: args[0].shape[0] },
    );
  return Object.assign(plain, {
    terms: [],
    outputs: (...args: Parameters<RewardFunction<M>>) => [plain(...args)] as const,
  });
}

/**
 * Calls a user's function, and names the reward in what it throws. An error of the recording engine passes unchanged.
 */
export function named<T>(reward: string, call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw withName(reward, error);
  }
}

/** The error that a reward threw, with the reward's name and the kind of error. */
export function withName(reward: string, error: unknown): Error {
  if (error instanceof RecordingError || (error instanceof Error && error.message.startsWith('rewardFunction')))
    return error;
  const { name, message } = error instanceof Error ? error : { name: 'threw', message: String(error) };
  return new Error(`${reward}: ${name === 'Error' ? '' : `${name}: `}${message}`, { cause: error });
}

/** Returns whether an engine can compile the reward. */
export const isModelReward = <M>(reward: RewardFunction<M>): reward is ModelReward<M> => 'model' in reward;

/**
 * Reads the weights of a reward into memory, so that it can be called directly. An engine reads the weights itself.
 * @returns the loaded reward, whose `dispose` frees the weights
 */
export async function loadReward<M>({ model }: ModelReward<M>): Promise<ModelReward<M>> {
  const stored = Object.values(flattenTensors(model.params)).filter((leaf): leaf is StoredTensor => !isTensor(leaf));
  const loaded = new Map<StoredTensor, Tensor>();
  for (const leaf of stored) if (!loaded.has(leaf)) loaded.set(leaf, await readFrozen(leaf));
  const params = mapTensors(model.params, (_, leaf) => (isTensor(leaf) ? leaf : loaded.get(leaf)!));
  const dispose = () => {
    loaded.forEach(disposeFrozen);
    loaded.clear();
  };
  return Object.assign(defineReward({ ...model, params }), { dispose });
}

const checked = new WeakSet<object>();

function checkLoaded(params: Params): void {
  if (checked.has(params)) return;
  const missing = Object.entries(flattenTensors(params)).find(([, leaf]) => !isTensor(leaf));
  if (missing)
    throw new Error(
      `reward: the weight '${missing[0]}' is still in its file, expected it in memory. ` +
        "Call the reward that 'await loadReward(reward)' returns.",
    );
  checked.add(params);
}

/** @throws if `images` is not a batch of RGB images with channels last */
export function checkImages(owner: string, images: Tensor4D): void {
  const { shape } = images;
  if (shape.length !== 4 || shape[3] !== 3 || shape.includes(0))
    throw new Error(`${owner}: images got shape [${shape}], expected [B, H, W, 3], channels last, at least one image.`);
}
