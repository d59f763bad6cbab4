import type { Collective } from '../collective/collective.js';
import { agree, exchange, shared } from '../collective/exchange.js';
import { meanAndStd } from '../step/statistics.js';
import type { StepMetrics } from '../trackers/metrics.js';
import { RewardError } from './reward-calls.js';
import type { JudgedSample, Rollout } from './rollouts.js';

/** An image of an epoch, as all processes know it. */
interface JudgedImage {
  readonly prompt: string;
  readonly reward: number;
  readonly terms: Readonly<Record<string, number>>;
}

/** The part of a process's rollout that the others need. */
interface Report {
  readonly batches: readonly (readonly JudgedImage[])[];
  readonly failedImages: number;
  /** The message of its RewardError. */
  readonly failure?: string;
}

/** The images of an epoch on all processes. */
export interface EpochRewards {
  /** Batch by batch, each in the order of ranks: a single process with larger batches has them in the same order. */
  readonly images: readonly JudgedImage[];
  /** The images of this process, and the place of each in `images`. */
  readonly own: readonly { readonly sample: JudgedSample['sample']; readonly place: number }[];
  /** The number of images of each rank. */
  readonly counts: readonly number[];
  /** The number of images whose reward failed. */
  readonly failedImages: number;
}

/**
 * Draws the images of an epoch on each process, and tells all of them the rewards of all.
 * @param draw draws those of this process
 * @throws as `agree`; RewardError on all processes, if a reward failed on one, or no image is left
 */
export async function gatherRewards(
  collective: Collective,
  epoch: number,
  draw: () => Promise<Rollout>,
  signal?: AbortSignal,
): Promise<EpochRewards> {
  let rollout: Rollout = { batches: [], failedImages: 0 };
  let failure: unknown;
  try {
    rollout = await draw();
  } catch (error) {
    failure = error;
  }
  const rewardError = failure instanceof RewardError ? failure : undefined;
  await agree(collective, `the images of epoch ${epoch}`, rewardError ? undefined : failure, signal);
  const reports = await exchange(collective, `the rewards of epoch ${epoch}`, report(rollout, rewardError));
  throwFailure(reports, rewardError, epoch);
  return joined(reports, rollout, collective.rank);
}

const report = ({ batches, failedImages }: Rollout, error: RewardError | undefined): Report => ({
  batches: batches.map((batch) => batch.map(({ sample: { prompt }, reward, terms }) => ({ prompt, reward, terms }))),
  failedImages,
  failure: error?.message,
});

function throwFailure(reports: readonly Report[], own: RewardError | undefined, epoch: number): void {
  if (own) throw shared(own);
  const rank = reports.findIndex(({ failure }) => failure !== undefined);
  if (rank >= 0) throw shared(new RewardError(`on rank ${rank} ${reports[rank]!.failure}`));
  if (reports.some(({ batches }) => batches.some(({ length }) => length > 0))) return;
  const failed = sum(reports.map(({ failedImages }) => failedImages));
  throw shared(
    new RewardError(
      `DDPOTrainer: the reward failed for all ${failed} images of epoch ${epoch}: nothing is left to train on. ` +
        'Mend the reward, and resume the run.',
    ),
  );
}

function joined(reports: readonly Report[], { batches }: Rollout, rank: number): EpochRewards {
  const images: JudgedImage[] = [];
  const own: EpochRewards['own'][number][] = [];
  for (const [i, batch] of batches.entries())
    for (const [other, { batches: theirs }] of reports.entries()) {
      if (other === rank) own.push(...batch.map(({ sample }, k) => ({ sample, place: images.length + k })));
      images.push(...theirs[i]!);
    }
  const counts = reports.map((one) => sum(one.batches.map(({ length }) => length)));
  return { images, own, counts, failedImages: sum(reports.map(({ failedImages }) => failedImages)) };
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

/** The statistics of the rewards of all images, and the mean of each term. */
export function rewardMetrics(rewards: EpochRewards): Pick<StepMetrics, 'rewardMean' | 'rewardStd' | 'rewardTerms'> {
  const { mean: rewardMean, std: rewardStd } = meanAndStd(rewards.images.map(({ reward }) => reward));
  const terms = Object.entries(termsOf(rewards)).map(([name, values]) => [name, meanAndStd(values).mean] as const);
  return { rewardMean, rewardStd, rewardTerms: Object.fromEntries(terms) };
}

/** The terms of all images by name. */
export const termsOf = ({ images }: EpochRewards): Record<string, Float32Array> =>
  Object.fromEntries(
    Object.keys(images[0]?.terms ?? {}).map((name) => [name, Float32Array.from(images, ({ terms }) => terms[name]!)]),
  );
