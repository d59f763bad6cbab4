import { freeze, isTensor, mapTensors, flattenTensors, unfreeze, type ModelFunction, type Params, type StoredTensor } from '@alignprop/autograd-ext';
import { keep, tensor, tidy, type Tensor, type Tensor1D, type Tensor4D } from '@tensorflow/tfjs-core';

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

/** A reward taken apart, so that an engine can compile what is heavy in it. */
export interface RewardModel<M = unknown> {
  /** Frozen weights, in memory or still in their files. */
  readonly params: Params;
  /** What the score depends on besides the images, such as token ids; shapes depend on the number of prompts alone. */
  inputs?(prompts: readonly string[], promptMetadata: readonly M[]): readonly Tensor[];
  /** `(params, images, ...inputs)` to scores `[B]`, as pure as a `RewardFunction`; further outputs, `[B]` each, are what `terms` names. */
  readonly score: ModelFunction;
  readonly terms?: readonly string[];
}

/** A reward that is a function as any other, and can also be had in parts. */
export interface ModelReward<M = unknown> extends RewardFunction<M> {
  readonly model: RewardModel<M>;
  /** Frees the weights that `loadReward` read. */
  dispose(): void;
}

/** Makes a reward of its parts. It can be called once its weights are in memory; see `loadReward`. */
export function defineReward<M = unknown>(model: RewardModel<M>): ModelReward<M> {
  const reward: RewardFunction<M> = (images, prompts, metadata) => {
    checkLoaded(model.params);
    return tidy(() => [model.score(model.params, images, ...(model.inputs?.(prompts, metadata) ?? []))].flat()[0] as Tensor1D);
  };
  return Object.assign(reward, { model, dispose: () => {} });
}

/** The same reward with its weights read into memory, where they stay until `dispose`; only to call it directly. */
export async function loadReward<M>({ model }: ModelReward<M>): Promise<ModelReward<M>> {
  const stored = Object.values(flattenTensors(model.params)).filter((leaf): leaf is StoredTensor => !isTensor(leaf));
  const loaded = new Map<StoredTensor, Tensor>();
  for (const leaf of stored) if (!loaded.has(leaf)) loaded.set(leaf, await read(leaf));
  const params = mapTensors(model.params, (_, leaf) => (isTensor(leaf) ? leaf : loaded.get(leaf)!));
  const dispose = () => {
    for (const weight of loaded.values()) {
      unfreeze(weight);
      weight.dispose();
    }
    loaded.clear();
  };
  return Object.assign(defineReward({ ...model, params }), { dispose });
}

async function read(leaf: StoredTensor): Promise<Tensor> {
  const values = await leaf.read();
  return freeze(keep(tensor(values, [...leaf.shape], values instanceof Int32Array ? 'int32' : 'float32')));
}

const checked = new WeakSet<object>();

function checkLoaded(params: Params): void {
  if (checked.has(params)) return;
  const missing = Object.entries(flattenTensors(params)).find(([, leaf]) => !isTensor(leaf));
  if (missing) throw new Error(`reward: the weight '${missing[0]}' is still in its file, expected it in memory. Call the reward that 'await loadReward(reward)' gives.`);
  checked.add(params);
}

/** @throws if images are not RGB images in a batch */
export function checkImages(owner: string, images: Tensor4D): void {
  const { shape } = images;
  if (shape.length !== 4 || shape[3] !== 3 || shape.includes(0))
    throw new Error(`${owner}: images got shape [${shape}], expected [B, H, W, 3], channels last, at least one image.`);
}
