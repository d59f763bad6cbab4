import type { Row } from './efficiency-run.js';
import { plot, type Panel, type Series } from './plot.js';

/** The runs compared: AlignProp, DDPO at two learning rates, and DDPO on random rewards as a control. */
export type RunName = 'AlignProp' | 'DDPO, rate 1e-2' | 'DDPO, rate 3e-3' | 'random rewards';

/** Evaluations by run name, then by seed. */
export type Runs = Readonly<Record<RunName, readonly (readonly Row[])[]>>;

type Cost = Exclude<keyof Row, 'kilobytes'>;

const costs: readonly (readonly [Cost, string])[] = [
  ['queries', 'reward queries'],
  ['forward', 'UNet calls'],
  ['backward', 'UNet gradients'],
  ['cpuSeconds', 'seconds of one core'],
];

/** Levels at which costs are compared: shares of the way from the start to the smallest size that every run reaches. */
const shares = [0.5, 1];

/** Formats a markdown table of the smallest held-out size of each run. */
export function bestTable(runs: Runs): string {
  const best = (rows: readonly Row[]) => rows.reduce((a, b) => (b.kilobytes < a.kilobytes ? b : a));
  const lines = Object.entries(runs).map(
    ([name, each]) =>
      `| ${name} | ${each.at(0)!.at(-1)!.queries} | ` +
      `${each.map((rows) => `${best(rows).kilobytes.toFixed(3)} (${best(rows).queries})`).join(', ')} |`,
  );
  return ['| | queries | smallest held-out kB (after queries), seed by seed |', '| --- | ---: | --- |', ...lines].join(
    '\n',
  );
}

/**
 * Formats a markdown table of the cost to reach each level: mean over the seeds with the range, and the ratio of the
 * means.
 */
export function tableOf({ AlignProp: aligned, ...others }: Runs): string {
  const lines = (['DDPO, rate 1e-2', 'DDPO, rate 3e-3'] as const).flatMap((name) =>
    comparison(aligned, others[name]).map((line, i) => `| ${i === 0 ? name : ''} ${line}`),
  );
  return ['| | held-out kB | | AlignProp | DDPO | ratio |', '| --- | --- | --- | ---: | ---: | ---: |', ...lines].join(
    '\n',
  );
}

function comparison(aligned: Runs['AlignProp'], ddpo: Runs['AlignProp']): string[] {
  const start = aligned[0]![0]!.kilobytes;
  const end = Math.max(...[...aligned, ...ddpo].map((rows) => Math.min(...rows.map(({ kilobytes }) => kilobytes))));
  return shares.flatMap((share) => {
    const level = start + share * (end - start);
    return costs.map(([cost, label], i) => {
      const [ours, theirs] = [aligned, ddpo].map((runs) => runs.map((rows) => costAt(rows, level, cost))) as [
        number[],
        number[],
      ];
      const ratio = (mean(theirs) / mean(ours)).toFixed(0);
      return `| ${i === 0 ? level.toFixed(3) : ''} | ${label} | ${spread(ours)} | ${spread(theirs)} | ${ratio} |`;
    });
  });
}

/** Returns the cost at the first evaluation at or below a level. Runs are evaluated after every optimizer step. */
const costAt = (rows: readonly Row[], level: number, cost: Cost): number =>
  rows.find(({ kilobytes }) => kilobytes <= level)![cost];

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
const spread = (values: readonly number[]): string =>
  `${mean(values).toFixed(0)} (${Math.min(...values).toFixed(0)} to ${Math.max(...values).toFixed(0)})`;

/** Plots the held-out size against queries and against time, one line a run. */
export function plotOf(runs: Runs): string {
  const lines = (cost: Cost, most = Infinity): Series[] =>
    (
      [
        ['AlignProp', '#2563eb'],
        ['DDPO, rate 1e-2', '#dc2626'],
        ['DDPO, rate 3e-3', '#d97706'],
        ['random rewards', '#9ca3af'],
      ] as const
    ).flatMap(([name, color]) =>
      runs[name].map((rows) => ({
        name,
        color,
        points: rows.filter((row) => row[cost] <= most).map((row) => [row[cost], row.kilobytes] as const),
      })),
    );
  const few = Math.max(...runs.AlignProp.map((rows) => rows.at(-1)!.queries));
  const panels: Panel[] = [
    { axes: ['calls of the reward', 'held-out file size, kB'], series: lines('queries') },
    { axes: [`the first ${few} of them`, 'held-out file size, kB'], series: lines('queries', few) },
    { axes: ['time of one core, s', 'held-out file size, kB'], series: lines('cpuSeconds') },
  ];
  const sizes = Object.values(runs)
    .flat(2)
    .map(({ kilobytes }) => kilobytes);
  const range = [Math.floor(10 * Math.min(...sizes)) / 10, Math.ceil(10 * Math.max(...sizes)) / 10] as const;
  return plot([panels.map((panel) => ({ ...panel, range }))]);
}
