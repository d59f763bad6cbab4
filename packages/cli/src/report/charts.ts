import { table } from '@alignprop/autograd-ext/outside';
import type { RunRecord } from '../run-records.js';
import type { ReportedRun } from './reported-run.js';

/** A curve of a run: `y[i]` at the optimizer step `x[i]`; null where it was no finite number. */
export interface Curve {
  /** The index of the run. */
  readonly run: number;
  readonly x: readonly number[];
  readonly y: readonly (number | null)[];
}

/** A metric over time, with a curve for each run that has it. */
export interface Chart {
  /** The metric's name in the records. */
  readonly id: string;
  readonly title: string;
  /** The unit or quantity on the vertical axis. */
  readonly unit: string;
  /** One sentence about it. */
  readonly about: string;
  /** Whether it is one of the first to look at. */
  readonly isMain: boolean;
  readonly curves: readonly Curve[];
}

type Described = readonly [title: string, unit: string, about: string];

/** The metrics to look at first, in the order of their charts; terms of the reward follow the held-out reward. */
const main = table<Described>({
  reward_mean: ['Reward', 'reward', 'Mean over the training images of a step.'],
  eval_reward_mean: ['Held-out reward', 'reward', 'Mean over all images of the held-out prompts, from the same noise.'],
  eval_diversity: ['Diversity', 'distance', 'Mean distance between the pixels of the images of a held-out prompt.'],
  loss: ['Loss', 'loss', 'The negative reward, with what other terms add.'],
  grad_norm: ['Gradient norm', 'L2 norm', 'The norm of all gradients together, before clipping.'],
});

const others = table<Described>({
  reward_std: ['Spread of the reward', 'reward', 'Standard deviation over the images of a micro-batch.'],
  eval_reward_std: ['Spread of the held-out reward', 'reward', 'Standard deviation over all held-out images.'],
  norm_excess: ['Longer predictions', 'root mean square', 'Beyond those of the model without the adapter.'],
  kl: ['Distance from the model', 'squared difference', 'Between predictions with and without the adapter.'],
  approx_kl: ['Approximate KL', 'nats', 'How far the weights have moved since they drew the images.'],
  clipfrac: ['Clipped ratios', 'share', 'The share of importance ratios beyond the clip range.'],
  learning_rate: ['Learning rate', 'learning rate', 'After the schedule.'],
  seconds: ['Time', 'seconds', 'Duration of a step; the first one compiles, too.'],
  skipped: ['Draws repeated', 'draws', 'Since a value was not finite.'],
  failed_images: ['Failed images', 'images', 'Whose reward failed.'],
});

/** Names in records that are no metric. */
const indices = ['epoch', 'global_step', 'eval_best_step'];

/** The most points of a curve; of longer runs, steps are left out evenly. */
const MAX_POINTS = 5000;

/** The charts of the metrics that the runs have recorded. A metric without a finite value has none. */
export function chartsOf(runs: readonly ReportedRun[]): readonly Chart[] {
  const recorded = new Set(
    runs.flatMap(({ steps, evaluations }) => [...steps, ...evaluations].flatMap((record) => Object.keys(record))),
  );
  const terms = [...recorded].filter((name) => name.startsWith('reward/')).sort();
  const [first, second, ...rest] = Object.keys(main);
  const known = [first!, second!, ...terms, ...rest, ...Object.keys(others)];
  const unknown = [...recorded].filter((name) => !known.includes(name) && !indices.includes(name)).sort();
  return [...known, ...unknown]
    .map((id) => ({ ...describe(id), curves: runs.flatMap((run, i) => curve(run, i, id)) }))
    .filter(({ curves }) => curves.length > 0);
}

function describe(id: string): Omit<Chart, 'curves'> {
  const term = /^reward\/(.*)$/s.exec(id)?.[1];
  const isMain = term !== undefined || Object.hasOwn(main, id);
  const [title, unit, about] =
    term === undefined
      ? (main[id] ?? others[id] ?? [id, id, 'As the run recorded it.'])
      : ([`Term ${term}`, 'reward', 'A term of the reward: its mean over the training images of a step.'] as const);
  return { id, title, unit, about, isMain };
}

function curve({ steps, evaluations }: ReportedRun, run: number, id: string): readonly Curve[] {
  const records = [steps, evaluations].find((all) => all.some((record) => Number.isFinite(record[id]))) ?? [];
  const drawn = thinned(records.filter((record) => Object.hasOwn(record, id)));
  if (drawn.length === 0) return [];
  return [{ run, x: drawn.map(({ global_step }) => global_step!), y: drawn.map((record) => rounded(record[id]!)) }];
}

function thinned(records: readonly RunRecord[]): readonly RunRecord[] {
  const every = Math.ceil(records.length / MAX_POINTS);
  return records.filter((_, i) => i % every === 0 || i === records.length - 1);
}

/** Six digits are more than a screen shows. */
const rounded = (value: number): number | null => (Number.isFinite(value) ? Number(value.toPrecision(6)) : null);
