import { jpegCompressibility, jpegIncompressibility, weightedSum, type RewardFunction } from '@alignprop/rewards';
import { UsageError } from './errors.js';

const rewards: Readonly<Record<string, () => RewardFunction>> = {
  'jpeg-compressibility': () => jpegCompressibility(),
  'jpeg-incompressibility': () => jpegIncompressibility(),
};
export const rewardNames: readonly string[] = Object.keys(rewards);

/**
 * The reward of `id` or `id:weight` terms: their weighted sum.
 * @throws if a name is unknown, a weight is no number, or a name comes twice
 */
export function rewardFunction(terms: readonly string[]): RewardFunction {
  const parts = terms.map(parseTerm);
  const names = parts.map(([name]) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice) throw new UsageError(`--reward: '${twice}' is given twice. Give it once, with the sum of the weights.`);
  const only = parts.length === 1 && parts[0]![1] === 1 ? parts[0]![0] : undefined;
  return only ? rewards[only]!() : weightedSum(Object.fromEntries(parts.map(([name, weight]) => [name, [rewards[name]!(), weight]])));
}

function parseTerm(term: string): [name: string, weight: number] {
  const [, name = term, weight = '1'] = /^([^:]*)(?::(.*))?$/.exec(term) ?? [];
  if (!Object.hasOwn(rewards, name)) throw new UsageError(`--reward: got '${name}', expected one of ${rewardNames.join(', ')}.`);
  if (weight.trim() === '' || !Number.isFinite(Number(weight))) throw new UsageError(`--reward: weight of '${name}' got '${weight}', expected a number.`);
  return [name, Number(weight)];
}
