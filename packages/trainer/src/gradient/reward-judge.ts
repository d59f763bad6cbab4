import { dispose, fill, tidy, type Tensor, type Tensor1D, type Tensor4D } from '@tensorflow/tfjs-core';
import {
  RecordingError,
  TfjsEngine,
  vjp,
  type Compiled,
  type Engine,
  type ModelFunction,
  type Vjp,
} from '@alignprop/autograd-ext';
import type { ModelReward, RewardFunction, RewardModel } from '@alignprop/rewards';

/** Inputs of a reward besides the images. */
export interface JudgeInputs<M> {
  /** One prompt per image. */
  readonly prompts: readonly string[];
  readonly promptMetadata: readonly M[];
  /** Multiplies the loss; 1 by default. */
  readonly lossScale?: number;
}

/** Rewards and their gradient. Tensors belong to the caller. */
export interface RewardGradient {
  /** `[B]` */
  readonly rewards: Tensor1D;
  /** The named terms of the rewards, one value per image. */
  readonly terms: Readonly<Record<string, Float32Array>>;
  /** The gradient of -lossScale · mean(rewards), `[B, H, W, 3]`. */
  readonly imageGradients: Tensor4D;
}

/** The rewards `[B]` of images `[B, H, W, 3]` and their vector-Jacobian product with `dy` `[B]`. */
type RewardVjp<M> = (
  images: Tensor4D,
  dy: Tensor,
  prompts: readonly string[],
  promptMetadata: readonly M[],
) => Promise<Vjp>;

/**
 * Differentiates a reward. It runs on the engine where it can: a reward with a model (`defineReward`), or a plain
 * function of the images alone. An engine that records functions cannot run a function that reads prompts or tensor
 * values; such a reward falls back to tfjs.
 */
export class RewardJudge<M> {
  readonly #terms: readonly string[];
  readonly #warn: (message: string) => void;
  readonly #eager: RewardVjp<M>;
  #vjp: RewardVjp<M>;

  /** @param warn called once if the reward falls back to tfjs */
  constructor(engine: Engine, rewardFunction: RewardFunction<M>, warn: (message: string) => void = () => {}) {
    const { model, terms = [] } = rewardFunction as Partial<ModelReward<M>>;
    this.#terms = terms;
    this.#warn = warn;
    this.#eager = model ? compiledModel(new TfjsEngine(), model) : eagerFunction(rewardFunction);
    if (model) this.#vjp = compiledModel(engine, model);
    else this.#vjp = engine.records ? recordedFunction(engine, rewardFunction) : this.#eager;
  }

  /**
   * Computes the rewards of images and the gradient of the loss.
   * @param images `[B, H, W, 3]` in [0, 1]; they stay the caller's
   */
  async judge(images: Tensor4D, { prompts, promptMetadata, lossScale = 1 }: JudgeInputs<M>): Promise<RewardGradient> {
    const [batch] = images.shape;
    const dy = fill([batch], -lossScale / batch);
    const { value, aux, inputs } = await this.#run(images, dy, prompts, promptMetadata).finally(() => dy.dispose());
    const values = await Promise.all(aux.map((term) => term.data<'float32'>()));
    dispose([...aux]);
    return {
      rewards: value as Tensor1D,
      terms: Object.fromEntries(this.#terms.map((name, i) => [name, values[i]!])),
      imageGradients: inputs[0] as Tensor4D,
    };
  }

  async #run(...args: Parameters<RewardVjp<M>>): Promise<Vjp> {
    try {
      return await this.#vjp(...args);
    } catch (error) {
      if (!(error instanceof RecordingError) || this.#vjp === this.#eager) throw error;
      this.#warn(`The reward runs on tfjs: ${error.message}`);
      this.#vjp = this.#eager;
      return this.#vjp(...args);
    }
  }
}

/** Computes rewards without their gradient; a reward with a model runs on the engine. */
export class RewardScorer<M> {
  readonly #rewardFunction: RewardFunction<M>;
  readonly #model: RewardModel<M> | undefined;
  readonly #score: Compiled | undefined;

  constructor(engine: Engine, rewardFunction: RewardFunction<M>) {
    this.#rewardFunction = rewardFunction;
    this.#model = (rewardFunction as Partial<ModelReward<M>>).model;
    this.#score = this.#model && engine.compile(this.#model.score);
  }

  /**
   * @param images `[B, H, W, 3]` in [0, 1]; they stay the caller's
   * @returns one reward per image
   */
  async score(images: Tensor4D, prompts: readonly string[], promptMetadata: readonly M[]): Promise<Float32Array> {
    const outputs = await this.#outputs(images, prompts, promptMetadata);
    const values = await checkedShape(outputs, images)[0].data<'float32'>();
    dispose([...outputs]);
    return values;
  }

  async #outputs(images: Tensor4D, prompts: readonly string[], promptMetadata: readonly M[]): Promise<Outputs> {
    if (!this.#model || !this.#score) return [tidy(() => this.#rewardFunction(images, prompts, promptMetadata))];
    const inputs = this.#model.inputs?.(prompts, promptMetadata) ?? [];
    const outputs = await this.#score(this.#model.params, images, ...inputs).finally(() => dispose([...inputs]));
    return outputs as unknown as Outputs;
  }
}

/** The rewards and their terms, `[B]` each. */
type Outputs = readonly [rewards: Tensor, ...terms: Tensor[]];

/** A reward with a model, compiled by an engine. */
function compiledModel<M>(engine: Engine, model: RewardModel<M>): RewardVjp<M> {
  const reward: ModelFunction = (params, images, ...rest) =>
    checkedShape([model.score(params, images!, ...rest)].flat() as unknown as Outputs, images!);
  const compiled = engine.compileVjp(reward, { wrt: [0] });
  return async (images, dy, prompts, promptMetadata) => {
    const inputs = model.inputs?.(prompts, promptMetadata) ?? [];
    return compiled(model.params, [images, ...inputs], dy).finally(() => dispose([...inputs]));
  };
}

/** A plain function, recorded by an engine: it may depend on the images only. */
function recordedFunction<M>(engine: Engine, rewardFunction: RewardFunction<M>): RewardVjp<M> {
  const outputs = outputsOf(rewardFunction);
  const reward: ModelFunction = (_, images) =>
    checkedShape(outputs(images as Tensor4D, unreadable('prompts'), unreadable('promptMetadata')), images!);
  const compiled = engine.compileVjp(reward, { wrt: [0] });
  return (images, dy) => compiled({}, [images], dy);
}

/** A plain function, run eagerly on tfjs. */
function eagerFunction<M>(rewardFunction: RewardFunction<M>): RewardVjp<M> {
  const outputs = outputsOf(rewardFunction);
  return (images, dy, prompts, promptMetadata) =>
    Promise.resolve().then(() =>
      vjp((_, x) => checkedShape(outputs(x as Tensor4D, prompts, promptMetadata), images), {}, [images], dy),
    );
}

/** Stands in for prompts while a function is recorded, and throws when it is read. */
function unreadable<T>(name: string): readonly T[] {
  const refuse = () => {
    throw new RecordingError(
      `it reads ${name}, which change from call to call. ` +
        `Make it with defineReward and pass what it needs of them as tensors, by 'inputs'.`,
    );
  };
  return new Proxy<T[]>([], { get: refuse, has: refuse, ownKeys: refuse });
}

const outputsOf = <M>(reward: RewardFunction<M>) =>
  (reward as Partial<ModelReward<M>>).outputs ??
  ((...args: Parameters<RewardFunction<M>>): Outputs => [reward(...args)]);

function checkedShape(outputs: Outputs, images: Tensor): Outputs {
  const [{ shape }] = outputs;
  const [batch] = images.shape;
  if (shape.length === 1 && shape[0] === batch) return outputs;
  throw new Error(`rewardFunction: returned shape [${shape.join(', ')}], expected [${batch}], one reward an image.`);
}
