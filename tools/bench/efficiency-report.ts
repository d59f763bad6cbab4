import type { Row } from './efficiency-run.js';
import { plot, type Panel, type Series } from './plot.js';

/** One of them is AlignProp, those of DDPO are compared with it, and one shows what happens without learning. */
export type RunName = 'AlignProp' | 'DDPO, rate 1e-2' | 'DDPO, rate 3e-3' | 'random rewards';

/** The evaluations of each run, a run a seed. */
export type Runs = Readonly<Record<RunName, readonly (readonly Row[])[]>>;

type Cost = Exclude<keyof Row, 'kilobytes'>;

const costs: readonly (readonly [Cost, string])[] = [
  ['queries', 'reward queries'],
  ['forward', 'UNet calls'],
  ['backward', 'UNet gradients'],
  ['cpuSeconds', 'seconds of one core'],
];

/** How far down, of the way to the smallest size that every run reaches. */
const shares = [0.5, 1];

/** A markdown table: the smallest that the held-out images became in each run. */
export function bestTable(runs: Runs): string {
  const best = (rows: readonly Row[]) => rows.reduce((a, b) => (b.kilobytes < a.kilobytes ? b : a));
  const lines = Object.entries(runs).map(
    ([name, each]) =>
      `| ${name} | ${each.at(0)!.at(-1)!.queries} | ${each.map((rows) => `${best(rows).kilobytes.toFixed(3)} (${best(rows).queries})`).join(', ')} |`,
  );
  return ['| | queries | smallest held-out kB (after queries), seed by seed |', '| --- | ---: | --- |', ...lines].join(
    '\n',
  );
}

/**
 * A markdown table: what it took until the held-out images were so small, the mean over the seeds with the range, and
 * the ratio of the means.
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
      return `| ${i === 0 ? level.toFixed(3) : ''} | ${label} | ${spread(ours)} | ${spread(theirs)} | ${(mean(theirs) / mean(ours)).toFixed(0)} |`;
    });
  });
}

/** What a run had taken when it first was as small as that. Runs are evaluated after every optimizer step. */
const costAt = (rows: readonly Row[], level: number, cost: Cost): number =>
  rows.find(({ kilobytes }) => kilobytes <= level)![cost];

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
const spread = (values: readonly number[]): string =>
  `${mean(values).toFixed(0)} (${Math.min(...values).toFixed(0)} to ${Math.max(...values).toFixed(0)})`;

/** The held-out size against queries and against time, a line a run. */
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
    { title: 'held-out kB against reward queries', series: lines('queries') },
    { title: `the first ${few} of them`, series: lines('queries', few) },
    { title: 'against seconds of one core', series: lines('cpuSeconds') },
  ];
  const sizes = Object.values(runs)
    .flat(2)
    .map(({ kilobytes }) => kilobytes);
  const range = [Math.floor(10 * Math.min(...sizes)) / 10, Math.ceil(10 * Math.max(...sizes)) / 10] as const;
  return plot([panels.map((panel) => ({ ...panel, range }))]);
}
