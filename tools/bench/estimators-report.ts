import type { GradientStatistics } from './estimator-gradients.js';
import type { Budget, Row } from './estimators-run.js';
import { plot, type Panel } from './plot.js';

/** The evaluations of each method, seed by seed. */
export type Runs = Readonly<Record<string, readonly (readonly Row[])[]>>;

/** The numbers of one run at the end of a budget, relative to those before training. */
interface Outcome {
  readonly steps: number;
  readonly cpuSeconds: number;
  /** The rise of the reward, as a share of its size before. */
  readonly gain: number;
  /** The rest of recognition and diversity, as shares of those before. */
  readonly recognised: number;
  readonly diversity: number;
  /** (1 + gain) · recognised · diversity. */
  readonly product: number;
}

function outcomeOf(rows: readonly Row[], budget: keyof Budget): Outcome {
  const [before, after] = [rows[0]!, rows.find(({ spent }) => spent === budget)!];
  const gain = (after.reward - before.reward) / Math.abs(before.reward);
  const recognised = after.recognised / before.recognised;
  const diversity = after.diversity / before.diversity;
  const { steps, cpuSeconds } = after;
  return { steps, cpuSeconds, gain, recognised, diversity, product: (1 + gain) * recognised * diversity };
}

/**
 * Formats a markdown table of all methods, the largest gain in equal time first: means over the seeds with the range.
 */
export function tableOf(runs: Runs): string {
  const methods = Object.entries(runs).map(([name, seeds]) => ({
    name,
    seeds: seeds.length,
    calls: seeds.map((rows) => outcomeOf(rows, 'calls')),
    time: seeds.map((rows) => outcomeOf(rows, 'cpuSeconds')),
  }));
  const sorted = methods.toSorted((a, b) => average(b.time, 'gain') - average(a.time, 'gain'));
  const lines = sorted.map(({ name, seeds, calls, time }) => {
    const cells = [
      name,
      `${seeds}`,
      (average(calls, 'cpuSeconds') / average(calls, 'steps')).toFixed(2),
      ...[time, calls].flatMap((outcomes) => [
        average(outcomes, 'steps').toFixed(0),
        spread(outcomes, 'gain', percent),
        spread(outcomes, 'recognised', percent),
        spread(outcomes, 'diversity', percent),
        spread(outcomes, 'product', (value) => value.toFixed(2)),
      ]),
    ];
    return `| ${cells.join(' | ')} |`;
  });
  return [
    '| | seeds | CPU seconds a step | equal time: steps | gained | recognised | diversity | product ' +
      '| equal calls: steps | gained | recognised | diversity | product |',
    `| --- |${' ---: |'.repeat(12)}`,
    ...lines,
  ].join('\n');
}

const percent = (value: number): string => `${(100 * value).toFixed(0)} %`;

const average = (outcomes: readonly Outcome[], key: keyof Outcome): number =>
  outcomes.reduce((sum, outcome) => sum + outcome[key], 0) / outcomes.length;

function spread(outcomes: readonly Outcome[], key: keyof Outcome, format: (value: number) => string): string {
  const values = outcomes.map((outcome) => outcome[key]);
  const [low, high] = [Math.min(...values), Math.max(...values)].map(format);
  return low === high ? low! : `${format(average(outcomes, key))} (${low} to ${high})`;
}

/** Formats a markdown table of the gradients, nearest to that of the whole chain first. */
export function gradientTableOf(gradients: Readonly<Record<string, GradientStatistics>>): string {
  const sorted = Object.entries(gradients).toSorted(([, a], [, b]) => b.cosineOfMean - a.cosineOfMean);
  const lines = sorted.map(
    ([name, { cosine, cosineOfMean, variance }]) =>
      `| ${name} | ${cosine.toFixed(2)} | ${cosineOfMean.toFixed(2)} | ${variance.toFixed(2)} |`,
  );
  return [
    '| | cosine of one draw | cosine of the mean of 8 draws | variance over squared mean |',
    '| --- | ---: | ---: | ---: |',
    ...lines,
  ].join('\n');
}

const colors = ['#2563eb', '#dc2626', '#059669', '#d97706', '#9333ea', '#0891b2', '#be185d', '#4d7c0f'];

/**
 * Plots what is left of recognition and diversity against the reward gained: a line for each method, from before
 * training through both budgets; one panel a reward.
 */
export function plotOf(runs: Readonly<Record<string, Runs>>): string {
  const panels = Object.entries(runs).map(([reward, methods]): Panel => {
    const series = Object.entries(methods).map(([name, seeds], i) => {
      const reached = (['cpuSeconds', 'calls'] as const).map((budget) => {
        const outcomes = seeds.map((rows) => outcomeOf(rows, budget));
        const left = average(outcomes, 'recognised') * average(outcomes, 'diversity');
        return [100 * average(outcomes, 'gain'), 100 * left] as const;
      });
      const points = [[0, 100] as const, ...reached].toSorted(([a], [b]) => a - b);
      return { points, color: colors[i % colors.length]!, name, ...(i >= colors.length && { dash: '4 3' }) };
    });
    return { title: reward, axes: ['reward gained, %', 'recognition × diversity left, %'], series, range: [0, 110] };
  });
  return plot([panels]);
}
