import { dispose, fill, tidy, type Tensor, type Tensor1D, type Tensor4D } from '@tensorflow/tfjs-core';
import { RecordingError, TfjsEngine, vjp, type Engine, type ModelFunction, type Vjp } from '@alignprop/autograd-ext';
import type { ModelReward, RewardFunction, RewardModel } from '@alignprop/rewards';

/** What the images are judged by besides themselves. */
export interface JudgeInputs<M> {
  readonly prompts: readonly string[];
  readonly promptMetadata: readonly M[];
  /** The loss is multiplied by it. */
  readonly lossScale?: number;
}

/** Tensors belong to the caller. */
export interface Judged {
  readonly rewards: Tensor1D;
  /** What the reward says besides, one value an image, by name. */
  readonly terms: Readonly<Record<string, Float32Array>>;
  /** Of -lossScale · mean(rewards). */
  readonly imageGradients: Tensor4D;
}

/** Images `[B, H, W, 3]`, which stay the caller's, to their rewards and the gradient of the loss. */
export type Judge<M> = (images: Tensor4D, inputs: JudgeInputs<M>) => Promise<Judged>;

/**
 * Makes a judge of a reward. What can be compiled runs on the engine: a reward that comes in parts, and a plain
 * function of the images. An engine that records functions cannot take one that reads prompts or values; such a reward
 * runs on tfjs instead.
 * @param warn told once if it does
 */
export function rewardJudge<M>(
  engine: Engine,
  rewardFunction: RewardFunction<M>,
  warn: (message: string) => void = () => {},
): Judge<M> {
  const { model, terms = [] } = rewardFunction as Partial<ModelReward<M>>;
  const eagerly = model ? compiled(new TfjsEngine(), model) : called(rewardFunction);
  let run = model ? compiled(engine, model) : engine.records ? recorded(engine, rewardFunction) : eagerly;
  const runOrFallBack: Run<M> = async (...args) => {
    try {
      return await run(...args);
    } catch (error) {
      if (!(error instanceof RecordingError) || run === eagerly) throw error;
      warn(`The reward runs on tfjs: ${error.message}`);
      run = eagerly;
      return run(...args);
    }
  };
  return async (images, { prompts, promptMetadata, lossScale = 1 }) => {
    const [batch] = images.shape;
    const dy = fill([batch], -lossScale / batch);
    const { value, aux, inputs } = await runOrFallBack(images, dy, prompts, promptMetadata).finally(() => dy.dispose());
    const values = await Promise.all(aux.map((term) => term.data<'float32'>()));
    dispose([...aux]);
    return {
      rewards: value as Tensor1D,
      terms: Object.fromEntries(terms.map((name, i) => [name, values[i]!])),
      imageGradients: inputs[0] as Tensor4D,
    };
  };
}

/** Scores alone, without a gradient. */
export type Scorer<M> = (
  images: Tensor4D,
  prompts: readonly string[],
  promptMetadata: readonly M[],
) => Promise<Float32Array>;

/** Makes a scorer of a reward, as `rewardJudge` makes a judge. */
export function rewardScorer<M>(engine: Engine, rewardFunction: RewardFunction<M>): Scorer<M> {
  const { model } = rewardFunction as Partial<ModelReward<M>>;
  const score = model && engine.compile(model.score);
  return async (images, prompts, metadata) => {
    const inputs = model?.inputs?.(prompts, metadata) ?? [];
    const outputs = score
      ? await score(model.params, images, ...inputs).finally(() => dispose([...inputs]))
      : [tidy(() => rewardFunction(images, prompts, metadata))];
    const values = await checkedShape(outputs as unknown as Outputs, images)[0].data<'float32'>();
    dispose([...outputs]);
    return values;
  };
}

type Run<M> = (images: Tensor4D, dy: Tensor, prompts: readonly string[], metadata: readonly M[]) => Promise<Vjp>;

function compiled<M>(engine: Engine, model: RewardModel<M>): Run<M> {
  const reward: ModelFunction = (params, images, ...rest) =>
    checkedShape([model.score(params, images!, ...rest)].flat() as unknown as Outputs, images!);
  const score = engine.compileVjp(reward, { wrt: [0] });
  return async (images, dy, prompts, metadata) => {
    const inputs = model.inputs?.(prompts, metadata) ?? [];
    return score(model.params, [images, ...inputs], dy).finally(() => dispose([...inputs]));
  };
}

/** A plain function, recorded: it must not depend on what is not in the graph. */
function recorded<M>(engine: Engine, rewardFunction: RewardFunction<M>): Run<M> {
  const reward: ModelFunction = (_, images) =>
    checkedShape(
      outputsOf(rewardFunction)(images as Tensor4D, unreadable('prompts'), unreadable('promptMetadata')),
      images!,
    );
  const score = engine.compileVjp(reward, { wrt: [0] });
  return (images, dy) => score({}, [images], dy);
}

function unreadable<T>(name: string): readonly T[] {
  const refuse = () => {
    throw new RecordingError(
      `it reads ${name}, which change from call to call. Make it with defineReward and hand what it needs of them in as tensors, by 'inputs'.`,
    );
  };
  return new Proxy<T[]>([], { get: refuse, has: refuse, ownKeys: refuse });
}

function called<M>(rewardFunction: RewardFunction<M>): Run<M> {
  const outputs = outputsOf(rewardFunction);
  return (images, dy, prompts, metadata) =>
    Promise.resolve().then(() =>
      vjp((_, x) => checkedShape(outputs(x as Tensor4D, prompts, metadata), images), {}, [images], dy),
    );
}

const outputsOf = <M>(reward: RewardFunction<M>) =>
  (reward as Partial<ModelReward<M>>).outputs ??
  ((...args: Parameters<RewardFunction<M>>): Outputs => [reward(...args)]);

type Outputs = readonly [Tensor, ...Tensor[]];

function checkedShape(outputs: Outputs, images: Tensor): Outputs {
  const [{ shape }] = outputs;
  const [batch] = images.shape;
  if (shape.length === 1 && shape[0] === batch) return outputs;
  throw new Error(`rewardFunction: returned shape [${shape.join(', ')}], expected [${batch}], one reward an image.`);
}
