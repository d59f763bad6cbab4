import { dispose, fill, mul, type Tensor, type Tensor1D, type Tensor4D } from '@tensorflow/tfjs-core';
import {
  isDifferentiable,
  RecordingError,
  TfjsEngine,
  vjp,
  type Engine,
  type ModelFunction,
  type Vjp,
} from '@alignprop/autograd-ext';
import type { ModelReward, RewardFunction, RewardModel } from '@alignprop/rewards';
import {
  detailed,
  outsideRun,
  rewardName,
  scoresTensor,
  sourceOfScores,
  type RewardContext,
} from '@alignprop/rewards/interface';

/** Thrown when a reward has no gradient in the images, so that only DDPO can train it. */
export class NoGradientError extends Error {
  override readonly name = 'NoGradientError';
}

/** Inputs of a reward besides the images. */
export interface JudgeInputs<M> {
  /** One prompt per image. */
  readonly prompts: readonly string[];
  readonly promptMetadata: readonly M[];
  /** Multiplies the loss; 1 by default. */
  readonly lossScale?: number;
  /** Multiply each image's part of the loss, `[B]`; 1 by default. */
  readonly weights?: Tensor1D;
  /** The step and the epoch of the run; step 0 by default. */
  readonly context?: RewardContext;
}

/** Rewards and their gradient. Tensors belong to the caller. */
export interface RewardGradient {
  /** `[B]` */
  readonly rewards: Tensor1D;
  /** The named terms of the rewards, one value per image. */
  readonly terms: Readonly<Record<string, Float32Array>>;
  /** The gradient of -lossScale · mean(weights · rewards), `[B, H, W, 3]`. */
  readonly imageGradients: Tensor4D;
}

/** The rewards `[B]` of images `[B, H, W, 3]` and their vector-Jacobian product with `dy` `[B]`. */
type RewardVjp<M> = (
  images: Tensor4D,
  dy: Tensor,
  prompts: readonly string[],
  promptMetadata: readonly M[],
  context: RewardContext,
) => Promise<Vjp>;

/**
 * Differentiates a reward. It runs on the engine where it can: a reward with a model (`defineReward`), or a plain
 * function of the images alone, which is recorded at every call, since it may read variables that change. An engine
 * that records functions cannot run a function that reads prompts or tensor values; such a reward falls back to tfjs.
 */
export class RewardJudge<M> {
  /** Names the reward in messages. */
  readonly name: string;
  readonly #terms: readonly string[];
  readonly #warn: (message: string) => void;
  readonly #eager: RewardVjp<M>;
  #vjp: RewardVjp<M>;
  #hasWarned = false;

  /** @param warn called once if the reward falls back to tfjs */
  constructor(engine: Engine, rewardFunction: RewardFunction<M>, warn: (message: string) => void = () => {}) {
    const { model, terms = [] } = rewardFunction as Partial<ModelReward<M>>;
    this.name = rewardName(rewardFunction);
    this.#terms = terms;
    this.#warn = warn;
    const check: Check = (outputs, images) => this.#checked(outputs, images);
    this.#eager = model ? compiledModel(new TfjsEngine(), model, check) : eagerFunction(rewardFunction, check);
    if (model) this.#vjp = compiledModel(engine, model, check);
    else this.#vjp = engine.records ? recordedFunction(engine, rewardFunction, check) : this.#eager;
  }

  /**
   * Computes the rewards of images and the gradient of the loss.
   * @param images `[B, H, W, 3]` in [0, 1]; they stay the caller's
   * @throws if the reward returns no score for each image, or has no gradient; the error names it
   */
  async judge(
    images: Tensor4D,
    { prompts, promptMetadata, lossScale = 1, weights, context = outsideRun }: JudgeInputs<M>,
  ): Promise<RewardGradient> {
    const [batch] = images.shape;
    const dy = weights ? mul(weights, -lossScale / batch) : fill([batch], -lossScale / batch);
    const { value, aux, inputs } = await this.#run(images, dy, prompts, promptMetadata, context)
      .catch(explainGradient(this.name))
      .finally(() => dy.dispose());
    const values = await Promise.all(aux.map((term) => term.data<'float32'>()));
    dispose([...aux]);
    return {
      rewards: value as Tensor1D,
      terms: Object.fromEntries(this.#terms.map((name, i) => [name, values[i]!])),
      imageGradients: inputs[0] as Tensor4D,
    };
  }

  /**
   * Checks what the reward returned, and warns once of terms without a gradient.
   * @throws if there is no reward for each image, or none of its operations passes a gradient to the images
   */
  #checked([returned, ...terms]: Outputs, images: Tensor): Outputs {
    const rewards = scoresTensor(returned, { reward: this.name, batch: images.shape[0]! });
    if (!isDifferentiable(rewards, images)) {
      throw new NoGradientError(
        `${this.name}: returned ${sourceOfScores(returned)} without a gradient, expected scores that tfjs operations ` +
          'compute from the images. Rounding, comparisons, counts and values that are read (dataSync) have no ' +
          'gradient. Write it with smooth operations, or train with DDPOTrainer, which needs no gradient.',
      );
    }
    const flat = this.#terms.filter((_, i) => !isDifferentiable(terms[i]!, images));
    if (flat.length > 0 && !this.#hasWarned) {
      this.#hasWarned = true;
      this.#warn(`The terms ${flat.join(', ')} of the reward have no gradient: they are reported, and train nothing.`);
    }
    return [rewards, ...terms];
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

/** Checks the outputs of a reward while it is differentiated. */
type Check = (outputs: Outputs, images: Tensor) => Outputs;

/** The rewards and their terms, `[B]` each. */
type Outputs = readonly [rewards: Tensor, ...terms: Tensor[]];

/** A reward with a model, compiled by an engine. */
function compiledModel<M>(engine: Engine, model: RewardModel<M>, check: Check): RewardVjp<M> {
  const reward: ModelFunction = (params, images, ...rest) =>
    check([model.score(params, images!, ...rest)].flat() as unknown as Outputs, images!);
  const compiled = engine.compileVjp(reward, { wrt: [0], refresh: true });
  return async (images, dy, ...args) => {
    const inputs = model.inputs?.(...args) ?? [];
    return compiled(model.params, [images, ...inputs], dy).finally(() => dispose([...inputs]));
  };
}

/** A plain function, recorded by an engine at every call: it may depend on the images, and on variables of its own. */
function recordedFunction<M>(engine: Engine, rewardFunction: RewardFunction<M>, check: Check): RewardVjp<M> {
  const { outputs } = detailed(rewardFunction);
  let context = outsideRun;
  const reward: ModelFunction = (_, images) =>
    check(outputs(images as Tensor4D, unreadable('prompts'), unreadable('promptMetadata'), context), images!);
  const compiled = engine.compileVjp(reward, { wrt: [0], refresh: true });
  return (images, dy, _prompts, _metadata, current) => {
    context = current;
    return compiled({}, [images], dy);
  };
}

/** A plain function, run eagerly on tfjs. */
function eagerFunction<M>(rewardFunction: RewardFunction<M>, check: Check): RewardVjp<M> {
  const { outputs } = detailed(rewardFunction);
  return (images, dy, ...args) =>
    Promise.resolve().then(() => vjp((_, x) => check(outputs(x as Tensor4D, ...args), x!), {}, [images], dy));
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

/** Rethrows the error of a kernel that tfjs cannot differentiate with the name of the reward. */
function explainGradient(name: string): (error: Error) => never {
  return (error) => {
    const [, kernel] = /gradient function not found for (\w+)/.exec(error.message) ?? [];
    if (/returned a promise/.test(error.message)) throw new NoGradientError(error.message, { cause: error });
    if (!kernel) throw error;
    throw new NoGradientError(
      `${name}: uses the operation ${kernel}, for which tfjs has no gradient, expected differentiable operations. ` +
        'Use another operation, or train with DDPOTrainer, which needs no gradient.',
      { cause: error },
    );
  };
}
