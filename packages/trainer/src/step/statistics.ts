import { gatherNumbers } from '../collective/exchange.js';
import type { Collective } from '../collective/collective.js';
import type { AlignPropConfig } from '../config/config.js';
import type { StepMetrics } from '../trackers/metrics.js';

/** The rewards of one micro-batch. */
export interface Round {
  /** One value per image. */
  readonly rewards: ArrayLike<number>;
  /** See `Penalties`. */
  readonly kl?: number;
  readonly normExcess?: number;
  /** The diffusion loss of its data. */
  readonly dataLoss?: number;
  /** The named terms of the reward, one value per image. */
  readonly terms: Readonly<Record<string, ArrayLike<number>>>;
}

/**
 * Joins the micro-batches of all ranks round by round, the images in the order of ranks: one process with a larger
 * batch would have the same rounds.
 * @param rounds those of this rank; every rank has as many, with as many images
 */
export async function gatherRounds(collective: Collective, rounds: readonly Round[]): Promise<readonly Round[]> {
  if (collective.size === 1) return rounds;
  const ranks = (await gatherNumbers(collective, packed(rounds))).map((numbers) => unpacked(numbers, rounds));
  return rounds.map((_, i) => joined(ranks.map((rank) => rank[i]!)));
}

/** All numbers of all rounds, in order. */
const packed = (rounds: readonly Round[]): Float64Array =>
  Float64Array.from(
    rounds.flatMap(({ rewards, terms, ...round }) => [
      ...Array.from(rewards),
      ...presentLosses(round).map((name) => round[name]!),
      ...Object.values(terms).flatMap((values) => Array.from(values)),
    ]),
  );

/** The inverse of `packed`. @param template rounds of the same sizes */
function unpacked(numbers: Float64Array, template: readonly Round[]): readonly Round[] {
  let offset = 0;
  const take = (count: number): Float64Array => numbers.subarray(offset, (offset += count));
  return template.map(({ rewards, terms, ...round }) => ({
    rewards: take(rewards.length),
    ...Object.fromEntries(presentLosses(round).map((name) => [name, take(1)[0]!])),
    terms: Object.fromEntries(Object.entries(terms).map(([name, values]) => [name, take(values.length)])),
  }));
}

/** One round of all ranks, which have the same terms. */
const joined = (ranks: readonly Round[]): Round => ({
  rewards: ranks.flatMap(({ rewards }) => Array.from(rewards)),
  ...meanLosses(ranks),
  terms: Object.fromEntries(
    Object.keys(ranks[0]!.terms).map((name) => [name, ranks.flatMap(({ terms }) => Array.from(terms[name]!))]),
  ),
});

/** The statistics of a step: means over all images, and the standard deviation averaged over the micro-batches. */
export function statisticsOf(
  rounds: readonly Round[],
  config: Pick<AlignPropConfig, 'kl_weight' | 'norm_weight' | 'data_weight'>,
): Pick<StepMetrics, 'rewardMean' | 'rewardStd' | 'rewardTerms' | LossName | 'loss'> {
  const statistics = rounds.map(({ rewards }) => meanAndStd(rewards));
  const rewardMean = meanAndStd(statistics.map(({ mean }) => mean)).mean;
  const rewardStd = meanAndStd(statistics.map(({ std }) => std)).mean;
  const rewardTerms = Object.fromEntries(
    Object.entries(termsOf(rounds)).map(([name, values]) => [name, meanAndStd(values).mean]),
  );
  const losses = meanLosses(rounds);
  const weights = { kl: config.kl_weight, normExcess: config.norm_weight, dataLoss: config.data_weight };
  const added = lossNames.reduce((sum, name) => sum + weights[name] * (losses[name] ?? 0), 0);
  return { rewardMean, rewardStd, rewardTerms, ...losses, loss: added - rewardMean };
}

/** The parts of the loss besides the reward. */
const lossNames = ['kl', 'normExcess', 'dataLoss'] as const;
type LossName = (typeof lossNames)[number];

const presentLosses = (round: Partial<Record<LossName, number>>): readonly LossName[] =>
  lossNames.filter((name) => round[name] !== undefined);

/** The mean of each part that rounds have. */
function meanLosses(rounds: readonly Round[]): Partial<Record<LossName, number>> {
  const means = lossNames.map((name) => {
    const present = rounds.map((round) => round[name]).filter((value) => value !== undefined);
    return [name, present.length === 0 ? undefined : meanAndStd(present).mean] as const;
  });
  return Object.fromEntries(means.filter(([, mean]) => mean !== undefined));
}

/** The terms of all images by name, in the order of micro-batches. */
export function termsOf(rounds: readonly Round[]): Record<string, Float32Array> {
  const names = Object.keys(rounds[0]?.terms ?? {});
  return Object.fromEntries(
    names.map((name) => [name, Float32Array.from(rounds.flatMap(({ terms }) => Array.from(terms[name]!)))]),
  );
}

/** Mean and standard deviation (ddof 0). */
export function meanAndStd(values: ArrayLike<number>): { mean: number; std: number } {
  const list = Array.from(values);
  const mean = list.reduce((sum, value) => sum + value, 0) / list.length;
  return { mean, std: Math.sqrt(list.reduce((sum, value) => sum + (value - mean) ** 2, 0) / list.length) };
}
