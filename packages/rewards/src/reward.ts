import {
  disposeFrozen,
  flattenTensors,
  isTensor,
  mapTensors,
  readFrozen,
  type ModelFunction,
  type Params,
  type StoredTensor,
} from '@alignprop/autograd-ext';
import { tidy, type Tensor, type Tensor1D, type Tensor4D } from '@tensorflow/tfjs-core';

/**
 * A score for each image of a batch, higher is better. A reward is a plain function of tfjs ops: pure, synchronous and
 * differentiable in the images. It reads no tensor's values, gives each image the score that it would have alone, and
 * owns nothing that it returns or is given.
 * @param images `[B, H, W, 3]`, RGB in [0, 1]
 * @param prompts what each image was made from, B of them
 * @param promptMetadata what the prompt function said beside each prompt, B of them
 * @returns `[B]`
 */
export type RewardFunction<M = unknown> = (
  images: Tensor4D,
  prompts: readonly string[],
  promptMetadata: readonly M[],
) => Tensor1D;

/** A reward that also says what its score is made of. */
export interface DetailedReward<M = unknown> extends RewardFunction<M> {
  /** What the outputs after the scores are called. */
  readonly terms: readonly string[];
  /** As the function itself: the scores, then each of `terms`, `[B]` each. */
  readonly outputs: (
    images: Tensor4D,
    prompts: readonly string[],
    promptMetadata: readonly M[],
  ) => readonly [Tensor1D, ...Tensor1D[]];
  /** What it learns from its scores between calls; rewards without are the same at every call. */
  readonly memory?: RewardMemory;
}

/**
 * What a reward knows of the scores that it gave. A trainer shows it those of each step, and keeps its state in
 * checkpoints.
 */
export interface RewardMemory {
  /**
   * Takes note of a step. The scores of one call are not changed by it, those of later calls are.
   * @param terms the values of every term, by name, over all images of the step; the same on every process
   */
  observe(terms: Readonly<Record<string, Float32Array>>): void;
  /** As plain JSON. */
  state(): unknown;
  /** @throws if it is not a state of this reward; nothing is changed then */
  restore(state: unknown): void;
}

/** A reward taken apart, so that an engine can compile what is heavy in it. */
export interface RewardModel<M = unknown> {
  /** Frozen weights, in memory or still in their files. */
  readonly params: Params;
  /** What the score depends on besides the images, such as token ids; shapes depend on the number of prompts alone. */
  inputs?(prompts: readonly string[], promptMetadata: readonly M[]): readonly Tensor[];
  /**
   * `(params, images, ...inputs)` to scores `[B]`, as pure as a `RewardFunction`; further outputs, `[B]` each, are what
   * `terms` names.
   */
  readonly score: ModelFunction;
  readonly terms?: readonly string[];
  /** What it knows reaches `score` through `inputs`. */
  readonly memory?: RewardMemory;
}

/** A reward that is a function as any other, and can also be had in parts. */
export interface ModelReward<M = unknown> extends DetailedReward<M> {
  readonly model: RewardModel<M>;
  /** Frees the weights that `loadReward` read. */
  dispose(): void;
}

/** Makes a reward of its parts. It can be called once its weights are in memory; see `loadReward`. */
export function defineReward<M = unknown>(model: RewardModel<M>): ModelReward<M> {
  const outputs: DetailedReward<M>['outputs'] = (images, prompts, metadata) => {
    checkLoaded(model.params);
    return tidy(
      () =>
        [model.score(model.params, images, ...(model.inputs?.(prompts, metadata) ?? []))].flat() as [
          Tensor1D,
          ...Tensor1D[],
        ],
    );
  };
  const { terms = [], memory } = model;
  return Object.assign(scoresOf(outputs), { outputs, terms, memory, model, dispose: () => {} });
}

/** The function that keeps the scores of `outputs` alone. */
export const scoresOf =
  <M>(outputs: DetailedReward<M>['outputs']): RewardFunction<M> =>
  (...args) =>
    tidy(() => outputs(...args)[0]);

/** The same reward, with no terms if it is a plain function. */
export function detailed<M>(reward: RewardFunction<M>): DetailedReward<M> {
  if (typeof (reward as Partial<DetailedReward<M>>).outputs === 'function') return reward as DetailedReward<M>;
  const plain: RewardFunction<M> = (...args) => reward(...args);
  return Object.assign(plain, {
    terms: [],
    outputs: (...args: Parameters<RewardFunction<M>>) => [reward(...args)] as const,
  });
}

/** Whether an engine can compile it. */
export const isModelReward = <M>(reward: RewardFunction<M>): reward is ModelReward<M> => 'model' in reward;

/** The same reward with its weights read into memory, where they stay until `dispose`; only to call it directly. */
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
      `reward: the weight '${missing[0]}' is still in its file, expected it in memory. Call the reward that 'await loadReward(reward)' gives.`,
    );
  checked.add(params);
}

/** @throws if images are not RGB images in a batch */
export function checkImages(owner: string, images: Tensor4D): void {
  const { shape } = images;
  if (shape.length !== 4 || shape[3] !== 3 || shape.includes(0))
    throw new Error(`${owner}: images got shape [${shape}], expected [B, H, W, 3], channels last, at least one image.`);
}
