import { tidy, type Tensor, type Tensor1D, type Tensor4D } from '@tensorflow/tfjs-core';
import {
  defineReward,
  detailed,
  isModelReward,
  scoresOf,
  type DetailedReward,
  type ModelReward,
  type RewardFunction,
  type RewardMemory,
} from '../reward.js';
import { joinMemories, type PartMemory } from './join-memories.js';

/** How `combine` computes one reward from several. */
export interface Combination {
  /** Computes the scores, then `terms`, from the scores of the parts. A pure function. */
  readonly score: (parts: readonly Tensor1D[], ...inputs: Tensor[]) => readonly [Tensor1D, ...Tensor1D[]];
  /** The names of the terms that `score` returns. */
  readonly terms?: readonly string[];
  /** Creates further inputs of `score`. */
  readonly inputs?: () => readonly Tensor[];
  /** Renames a term of a part; by default the name stays. */
  readonly rename?: (part: string, term: string) => string;
  /** State of the combination, beside that of its parts. */
  readonly memory?: RewardMemory;
}

/**
 * Combines rewards into one, which an engine can compile if it can compile all parts. The terms are those of the
 * combination, then those of the parts.
 * @param owner the combinator's name in messages
 * @throws if two terms have the same name
 */
export function combine<M>(
  owner: string,
  parts: Readonly<Record<string, RewardFunction<M>>>,
  combination: Combination,
): DetailedReward<M> | ModelReward<M> {
  const names = Object.keys(parts);
  const rewards = Object.values(parts).map((reward) => detailed(reward));
  const { rename = (_, term) => term, score } = combination;
  const renamed = rewards.map(({ terms }, i) => terms.map((term) => rename(names[i]!, term)));
  const terms = [...(combination.terms ?? []), ...renamed.flat()];
  const duplicate = terms.find((term, i) => terms.indexOf(term) !== i);
  if (duplicate)
    throw new Error(
      `${owner}: two terms are called '${duplicate}', expected one of that name. Give the parts other names.`,
    );
  const partMemories = rewards.map(({ memory, terms: inner }, i): PartMemory => ({
    name: names[i]!,
    memory,
    terms: inner,
    renamed: renamed[i]!,
  }));
  const memory = joinMemories(owner, partMemories, combination.memory);
  const join: Join = (outputs, inputs) => {
    const [scores, ...added] = score(
      outputs.map(([part]) => part!),
      ...inputs,
    );
    return [scores, ...added, ...outputs.flatMap(([, ...inner]) => inner)];
  };
  if (rewards.every(isModelReward)) return combineModels(names, rewards, { ...combination, terms, memory }, join);
  const outputs: DetailedReward<M>['outputs'] = (...args) =>
    tidy(() =>
      join(
        rewards.map((reward) => reward.outputs(...args)),
        combination.inputs?.() ?? [],
      ),
    );
  return Object.assign(scoresOf(outputs), { outputs, terms, memory });
}

/** Computes scores and terms from the outputs of each part and the inputs of the combination. */
type Join = (outputs: readonly (readonly Tensor1D[])[], inputs: readonly Tensor[]) => [Tensor1D, ...Tensor1D[]];

function combineModels<M>(
  names: readonly string[],
  rewards: readonly ModelReward<M>[],
  { inputs, terms, memory }: Combination,
  join: Join,
): ModelReward<M> {
  const models = rewards.map(({ model }) => model);
  let counts: readonly number[] = models.map(() => 0); // of each part's inputs; the same at every call
  return defineReward<M>({
    params: Object.fromEntries(names.map((name, i) => [name, models[i]!.params])),
    inputs: (...args) => {
      const partInputs = models.map((model) => model.inputs?.(...args) ?? []);
      counts = partInputs.map(({ length }) => length);
      return [...partInputs.flat(), ...(inputs?.() ?? [])];
    },
    score: (params, images, ...allInputs) => {
      const rest = [...allInputs];
      const outputs = models.map((model, i) => {
        const partParams = (params as Record<string, typeof params>)[names[i]!]!;
        return [model.score(partParams, images as Tensor4D, ...rest.splice(0, counts[i]))].flat() as Tensor1D[];
      });
      return join(outputs, rest);
    },
    terms,
    memory,
  });
}
