// npm run efficiency -w tools [-- --seeds 0,1,2 --runs FOLDER --output PATH] Compares the cost of AlignProp and DDPO to
// reach the same held-out reward. Runs already in FOLDER are not repeated, so that the benchmark can be stopped and
// continued. Writes tables into PATH.md, the plot to PATH.svg, all evaluations to PATH.json (docs/efficiency by
// default).
import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { bestTable, plotOf, tableOf, type RunName } from './efficiency-report.js';
import { run, type Method, type Row, type Setting } from './efficiency-run.js';
import { writePage } from './write-page.js';

const beside = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const { values: flags } = parseArgs({
  options: {
    seeds: { type: 'string', default: '0,1,2' },
    runs: { type: 'string', default: beside('../dist/efficiency') },
    output: { type: 'string', default: beside('../../docs/efficiency') },
  },
});

/** Small images without guidance, so that a run takes minutes on one core. */
const setting: Setting = { steps: 10, guidance: 1, size: 32 };

const ddpo = (queries: number, train_learning_rate: number, control = false): Method => ({
  trainer: 'ddpo',
  control,
  queries,
  evalEvery: 32,
  config: { sample_batch_size: 32, sample_num_batches_per_epoch: 1, train_batch_size: 32, train_learning_rate },
});

/** docs/efficiency.md lists the other settings that were tried. */
const methods: Readonly<Record<RunName, Method>> = {
  AlignProp: {
    trainer: 'alignprop',
    queries: 64,
    evalEvery: 4,
    config: { train_batch_size: 4, train_learning_rate: 1e-2, truncated_rand_backprop_minmax: [0, setting.steps] },
  },
  'DDPO, rate 1e-2': ddpo(480, 1e-2),
  'DDPO, rate 3e-3': ddpo(768, 3e-3),
  'random rewards': ddpo(480, 1e-2, true),
};

const seeds = flags.seeds.split(',').map(Number);
mkdirSync(flags.runs, { recursive: true });
const runs = Object.fromEntries(Object.keys(methods).map((name) => [name, []])) as unknown as Record<
  RunName,
  (readonly Row[])[]
>;
for (const [name, method] of Object.entries(methods) as [RunName, Method][]) {
  for (const seed of method.trainer === 'ddpo' && method.control ? seeds.slice(0, 1) : seeds) {
    const rows = await run(method, seed, setting, `${flags.runs}/${name.replaceAll(/[^\w-]+/g, '-')}-${seed}.jsonl`);
    const { queries, kilobytes, cpuSeconds } = rows.at(-1)!;
    console.log(
      `${name}, seed ${seed}: ${kilobytes.toFixed(3)} kB after ${queries} queries, ${cpuSeconds.toFixed(0)} s`,
    );
    runs[name].push(rows);
  }
}
const table = `${tableOf(runs)}\n\n${bestTable(runs)}`;
console.log(`\n${table}`);
writePage(flags.output, { numbers: { setting, methods, seeds, runs }, figure: plotOf(runs), tables: table });
