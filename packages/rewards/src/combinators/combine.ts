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
import { joinMemories, type Remembering } from './join-memories.js';

/** How the scores of several rewards become one. */
export interface Combination {
  /** The new score and its own terms, pure; `parts` are the scores of each part, in order. */
  readonly score: (parts: readonly Tensor1D[], ...inputs: Tensor[]) => readonly [Tensor1D, ...Tensor1D[]];
  /** Names of the terms that `score` adds. */
  readonly terms?: readonly string[];
  /** What `score` depends on besides. */
  readonly inputs?: () => readonly Tensor[];
  /** What the terms of a part are called here. */
  readonly rename?: (part: string, term: string) => string;
  /** Besides that of the parts. */
  readonly memory?: RewardMemory;
}

/**
 * A reward made of others, which can be compiled if all of them can. Its terms are its own, then those of the parts.
 * @throws if two terms have one name
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
  const twice = terms.find((term, i) => terms.indexOf(term) !== i);
  if (twice)
    throw new Error(`${owner}: two terms are called '${twice}', expected one of that name. Name the parts otherwise.`);
  const remembering = rewards.map(({ memory, terms: inner }, i): Remembering => ({
    name: names[i]!,
    memory,
    terms: inner,
    renamed: renamed[i]!,
  }));
  const memory = joinMemories(owner, remembering, combination.memory);
  const join: Join = (outputs, own) => {
    const [scores, ...added] = score(
      outputs.map(([part]) => part!),
      ...own,
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

type Join = (outputs: readonly (readonly Tensor1D[])[], own: readonly Tensor[]) => [Tensor1D, ...Tensor1D[]];

function combineModels<M>(
  names: readonly string[],
  rewards: readonly ModelReward<M>[],
  { inputs, terms, memory }: Combination,
  join: Join,
): ModelReward<M> {
  const models = rewards.map(({ model }) => model);
  let counts: readonly number[] = models.map(() => 0); // of the inputs of each part, which are the same at every call
  return defineReward<M>({
    params: Object.fromEntries(names.map((name, i) => [name, models[i]!.params])),
    inputs: (prompts, metadata) => {
      const given = models.map((model) => model.inputs?.(prompts, metadata) ?? []);
      counts = given.map(({ length }) => length);
      return [...given.flat(), ...(inputs?.() ?? [])];
    },
    score: (params, images, ...all) => {
      const rest = [...all];
      const outputs = models.map((model, i) => {
        const of = (params as Record<string, typeof params>)[names[i]!]!;
        return [model.score(of, images as Tensor4D, ...rest.splice(0, counts[i]))].flat() as Tensor1D[];
      });
      return join(outputs, rest);
    },
    terms,
    memory,
  });
}
