// node --conditions=@alignprop/source --import tsx --import ./tools/run-sources/register.mjs tools/bench/growth.ts \
//   [--model FOLDER --threads 2] [--output docs/growth]
// Measures how time and memory of a training step grow with steps, attached steps, batch, image size and rank: a table
// on stdout, a plot as SVG. Measures the embedded model, or one of the shapes of Stable Diffusion 1.5 with settings
// that fit it.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { plot } from './plot.js';
import { median, type WatchedRow } from './table.js';

const { values: flags } = parseArgs({
  options: {
    model: { type: 'string' },
    threads: { type: 'string', default: '2' },
    output: { type: 'string', default: 'docs/growth' },
  },
});

interface Setting {
  readonly steps: number;
  readonly attached: number;
  readonly batch: number;
  readonly size: number;
  readonly rank: number;
}
interface Point {
  readonly x: number;
  readonly seconds: number;
  readonly megabytes: number;
}
/** The settings of a model, and the values of each that are measured while the others keep theirs. */
interface Plan {
  readonly base: Setting;
  readonly runs: number;
  readonly sweeps: Readonly<Record<keyof Setting, readonly number[]>>;
}

const embedded: Plan = {
  base: { steps: 10, attached: 5, batch: 1, size: 32, rank: 4 },
  runs: 2,
  sweeps: {
    steps: [5, 10, 20, 40],
    attached: [1, 2, 5, 10],
    batch: [1, 2, 4, 8],
    size: [32, 64, 96, 128],
    rank: [4, 16, 64],
  },
};
const large: Plan = {
  base: { steps: 5, attached: 1, batch: 1, size: 512, rank: 4 },
  runs: 1,
  sweeps: { steps: [2, 5, 10], attached: [1, 3, 5], batch: [1, 2], size: [256, 512], rank: [4, 64] },
};
const { base, runs, sweeps } = flags.model ? large : embedded;
const titles: Readonly<Record<keyof Setting, string>> = {
  steps: 'denoising steps',
  attached: 'attached steps',
  batch: 'batch, images',
  size: 'height and width, pixels',
  rank: 'rank of the adapter',
};

/** The measurements by their setting: the one that all sweeps share is made once. */
const known = new Map<string, Omit<Point, 'x'>>();
const measured = Object.entries(sweeps).map(([name, xs]) => ({
  name: name as keyof Setting,
  points: xs.map((x): Point => ({ x, ...measureOnce({ ...base, [name]: x }) })),
}));
for (const { name, points } of measured) {
  console.log(
    `\n| ${titles[name]} | ${points.map(({ x }) => x).join(' | ')} |\n| --- |${' ---: |'.repeat(points.length)}`,
  );
  console.log(
    `| seconds | ${points.map(({ seconds }) => seconds.toFixed(2)).join(' | ')} |\n` +
      `| memory in use, MB | ${points.map(({ megabytes }) => megabytes.toFixed(0)).join(' | ')} |`,
  );
}
const kinds = [
  ['seconds', 'time of a step, s', '#2563eb'],
  ['megabytes', 'memory in use, MB', '#dc2626'],
] as const;
const panels = kinds.map(([key, label, color]) =>
  measured.map(({ name, points }) => ({
    axes: [titles[name], label] as const,
    labelled: true,
    series: [{ color, points: points.map((point) => [point.x, point[key]] as const) }],
  })),
);
writeFileSync(`${flags.output}.svg`, plot(panels));

function measureOnce(setting: Setting): Omit<Point, 'x'> {
  const key = JSON.stringify(setting);
  if (!known.has(key)) known.set(key, measure(setting));
  return known.get(key)!;
}

function measure({ attached, ...setting }: Setting): Omit<Point, 'x'> {
  const main = fileURLToPath(new URL('main.ts', import.meta.url));
  const numbers = { ...setting, attached: Math.min(attached, setting.steps), runs, threads: Number(flags.threads) };
  const args = Object.entries(numbers).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const common = [
    '--engine',
    'onnxruntime',
    '--only',
    'train',
    '--json',
    ...(flags.model ? ['--model', flags.model] : []),
  ];
  const output = execFileSync(process.execPath, [...process.execArgv, main, ...common, ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [row] = JSON.parse(output.trim().split('\n').at(-1)!) as WatchedRow[];
  return { seconds: median(row!.seconds), megabytes: row!.peakInUse! / 1e6 };
}
