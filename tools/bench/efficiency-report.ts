import type { Row } from './efficiency-run.js';
import { plot, type Panel, type Series } from './plot.js';

/** The evaluations of each run, a run a seed. */
export type Runs = Readonly<Record<'AlignProp' | 'DDPO' | 'DDPO, random rewards', readonly (readonly Row[])[]>>;

type Cost = Exclude<keyof Row, 'kilobytes'>;

const costs: readonly (readonly [Cost, string])[] = [
  ['queries', 'reward queries'],
  ['forward', 'UNet calls'],
  ['backward', 'UNet gradients'],
  ['cpuSeconds', 'seconds of one core'],
];

/** How far down, of the way to the smallest size that every run reaches. */
const shares = [0.5, 0.75, 0.9, 1];

/** A markdown table: what it took until the held-out images were as small as that, the mean over the seeds with the range, and the ratio of the means. */
export function tableOf(runs: Runs): string {
  const all = [...runs.AlignProp, ...runs.DDPO];
  const start = all[0]![0]!.kilobytes;
  const end = Math.max(...all.map((rows) => Math.min(...rows.map(({ kilobytes }) => kilobytes))));
  const lines = shares.flatMap((share) => {
    const level = start + share * (end - start);
    return costs.map(([cost, label], i) => {
      const [aligned, ddpo] = [runs.AlignProp, runs.DDPO].map((each) => each.map((rows) => costAt(rows, level, cost))) as [number[], number[]];
      const size = i === 0 ? `${level.toFixed(3)} (${(100 * share).toFixed(0)} %)` : '';
      return `| ${size} | ${label} | ${spread(aligned)} | ${spread(ddpo)} | ${(mean(ddpo) / mean(aligned)).toFixed(1)} |`;
    });
  });
  return ['| held-out kB | | AlignProp | DDPO | ratio |', '| --- | --- | ---: | ---: | ---: |', ...lines].join('\n');
}

/** What a run had taken when it first was as small as that, between evaluations along a straight line. */
function costAt(rows: readonly Row[], level: number, cost: Cost): number {
  const i = rows.findIndex(({ kilobytes }) => kilobytes <= level);
  const [before, after] = [rows[i - 1]!, rows[i]!];
  return before[cost] + ((before.kilobytes - level) / (before.kilobytes - after.kilobytes)) * (after[cost] - before[cost]);
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
const spread = (values: readonly number[]): string => `${mean(values).toFixed(0)} (${Math.min(...values).toFixed(0)} to ${Math.max(...values).toFixed(0)})`;

/** The held-out size against queries and against time, a line a run. */
export function plotOf(runs: Runs): string {
  const lines = (cost: Cost, most = Infinity): Series[] =>
    ([['AlignProp', '#2563eb'], ['DDPO', '#dc2626'], ['DDPO, random rewards', '#9ca3af']] as const).flatMap(([name, color]) =>
      runs[name].map((rows) => ({ name, color, points: rows.filter((row) => row[cost] <= most).map((row) => [row[cost], row.kilobytes] as const) })));
  const few = Math.max(...runs.AlignProp.map((rows) => rows.at(-1)!.queries));
  const panels: Panel[] = [
    { title: 'held-out kB against reward queries', series: lines('queries') },
    { title: `the first ${few} of them`, series: lines('queries', few) },
    { title: 'against seconds of one core', series: lines('cpuSeconds') },
  ];
  const sizes = Object.values(runs).flat(2).map(({ kilobytes }) => kilobytes);
  const range = [Math.floor(10 * Math.min(...sizes)) / 10, Math.ceil(10 * Math.max(...sizes)) / 10] as const;
  return plot([panels.map((panel) => ({ ...panel, range }))]);
}
