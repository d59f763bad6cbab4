// tsx tools/bench/growth.ts [--engine onnxruntime] [--output docs/growth] Measures how time and memory of a training
// step grow with steps, attached steps, batch and image size: a table on stdout, a plot as SVG.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { plot } from './plot.js';
import { median, type Row } from './table.js';

const { values: flags } = parseArgs({
  options: { engine: { type: 'string', default: 'onnxruntime' }, output: { type: 'string', default: 'docs/growth' } },
});

interface Setting {
  readonly steps: number;
  readonly attached: number;
  readonly batch: number;
  readonly size: number;
}
interface Point {
  readonly x: number;
  readonly seconds: number;
  readonly megabytes: number;
}

const base: Setting = { steps: 10, attached: 5, batch: 1, size: 32 };
const sweeps: Readonly<Record<keyof Setting, readonly number[]>> = {
  steps: [5, 10, 20, 40],
  attached: [1, 2, 5, 10],
  batch: [1, 2, 4, 8],
  size: [32, 64, 96, 128],
};
const titles: Readonly<Record<keyof Setting, string>> = {
  steps: 'denoising steps',
  attached: 'attached steps',
  batch: 'batch, images',
  size: 'height and width, pixels',
};

const measured = Object.entries(sweeps).map(([name, xs]) => ({
  name: name as keyof Setting,
  points: xs.map((x) => measure({ ...base, [name]: x }, x)),
}));
for (const { name, points } of measured) {
  console.log(
    `\n| ${titles[name]} | ${points.map(({ x }) => x).join(' | ')} |\n| --- |${' ---: |'.repeat(points.length)}`,
  );
  console.log(
    `| seconds | ${points.map(({ seconds }) => seconds.toFixed(2)).join(' | ')} |\n` +
      `| peak RSS, MiB | ${points.map(({ megabytes }) => megabytes.toFixed(0)).join(' | ')} |`,
  );
}
const kinds = [
  ['seconds', 'time of a step, s', '#2563eb'],
  ['megabytes', 'peak memory (RSS), MiB', '#dc2626'],
] as const;
const panels = kinds.map(([key, label, color]) =>
  measured.map(({ name, points }) => ({
    axes: [titles[name], label] as const,
    labelled: true,
    series: [{ color, points: points.map((point) => [point.x, point[key]] as const) }],
  })),
);
writeFileSync(`${flags.output}.svg`, plot(panels));

function measure({ steps, attached, batch, size }: Setting, x: number): Point {
  const main = fileURLToPath(new URL('main.ts', import.meta.url));
  const numbers = [
    '--steps',
    steps,
    '--attached',
    Math.min(attached, steps),
    '--batch',
    batch,
    '--size',
    size,
    '--runs',
    2,
  ].map(String);
  const output = execFileSync(
    process.execPath,
    [...process.execArgv, main, '--engine', flags.engine, '--row', 'train', ...numbers],
    { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const row = JSON.parse(output.trim().split('\n').at(-1)!) as Row;
  return { x, seconds: median(row.seconds), megabytes: row.peakResident / 2 ** 20 };
}
