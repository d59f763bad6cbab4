import { gatherNumbers } from '../collective/exchange.js';
import type { Collective } from '../collective/collective.js';
import { type StepMetrics } from '../trackers/metrics.js';

/** What is known of the images of one micro-batch. */
export interface Round {
  readonly rewards: ArrayLike<number>;
  /** As `ChainGradients.kl`. */
  readonly kl?: number;
  /** What the reward says besides, one value an image, by name. */
  readonly terms: Readonly<Record<string, ArrayLike<number>>>;
}

/**
 * The micro-batches of all ranks: round by round, the images in the order of ranks, as one process with a batch of that
 * size has them.
 * @param rounds this rank's: as many, of as many images, on each
 */
export async function gatherRounds(collective: Collective, rounds: readonly Round[]): Promise<readonly Round[]> {
  if (collective.size === 1) return rounds;
  const ranks = (await gatherNumbers(collective, packed(rounds))).map((numbers) => unpacked(numbers, rounds));
  return rounds.map((own, i) =>
    joined(
      ranks.map((rank) => rank[i]!),
      own,
    ),
  );
}

const packed = (rounds: readonly Round[]): Float64Array =>
  Float64Array.from(
    rounds.flatMap(({ rewards, kl, terms }) => [
      ...Array.from(rewards),
      ...(kl === undefined ? [] : [kl]),
      ...Object.values(terms).flatMap((values) => Array.from(values)),
    ]),
  );

/** @param like rounds of the same sizes */
function unpacked(numbers: Float64Array, like: readonly Round[]): readonly Round[] {
  let at = 0;
  const take = (count: number): Float64Array => numbers.subarray(at, (at += count));
  return like.map(({ rewards, kl, terms }) => ({
    rewards: take(rewards.length),
    ...(kl !== undefined && { kl: take(1)[0]! }),
    terms: Object.fromEntries(Object.entries(terms).map(([name, values]) => [name, take(values.length)])),
  }));
}

const joined = (ranks: readonly Round[], { kl, terms }: Round): Round => ({
  rewards: ranks.flatMap(({ rewards }) => Array.from(rewards)),
  ...(kl !== undefined && { kl: meanAndStd(ranks.map((rank) => rank.kl!)).mean }),
  terms: Object.fromEntries(
    Object.keys(terms).map((name) => [name, ranks.flatMap((rank) => Array.from(rank.terms[name]!))]),
  ),
});

/** What a step reports of its images: means over all of them, deviations over the micro-batches. */
export function statisticsOf(
  rounds: readonly Round[],
  klWeight: number,
): Pick<StepMetrics, 'rewardMean' | 'rewardStd' | 'rewardTerms' | 'kl' | 'loss'> {
  const statistics = rounds.map(({ rewards }) => meanAndStd(rewards));
  const rewardMean = meanAndStd(statistics.map(({ mean }) => mean)).mean;
  const rewardStd = meanAndStd(statistics.map(({ std }) => std)).mean;
  const rewardTerms = Object.fromEntries(
    Object.entries(termsOf(rounds)).map(([name, values]) => [name, meanAndStd(values).mean]),
  );
  const kls = rounds.flatMap(({ kl }) => kl ?? []);
  if (kls.length === 0) return { rewardMean, rewardStd, rewardTerms, loss: -rewardMean };
  const kl = meanAndStd(kls).mean;
  return { rewardMean, rewardStd, rewardTerms, kl, loss: klWeight * kl - rewardMean };
}

/** The values of all images, micro-batch by micro-batch, by name. */
export function termsOf(rounds: readonly Round[]): Record<string, Float32Array> {
  const names = Object.keys(rounds[0]?.terms ?? {});
  return Object.fromEntries(
    names.map((name) => [name, Float32Array.from(rounds.flatMap(({ terms }) => Array.from(terms[name]!)))]),
  );
}

/** Mean and standard deviation (ddof 0, the population's). */
export function meanAndStd(values: ArrayLike<number>): { mean: number; std: number } {
  const list = Array.from(values);
  const mean = list.reduce((sum, value) => sum + value, 0) / list.length;
  return { mean, std: Math.sqrt(list.reduce((sum, value) => sum + (value - mean) ** 2, 0) / list.length) };
}
