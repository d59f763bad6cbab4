// npm run bench [-- --engine onnxruntime,wasm --model DIR --size PIXELS --batch 1 --steps 20 --attached 3 --threads 2
// --runs 5 --rank 4 --only unet,image,train --scheduler ddim --guidance 5 --estimator refl --cfg-gradient conditional
// --guidance-interval 0.2,0.8 --reuse-features 2 --reward-crop PIXELS --reward-decoder DIR --max-memory MB --json]
// Measures seconds and memory of UNet calls, images and training steps. Each row of the table runs in its own process,
// so that its peak memory is not that of another.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpus, totalmem } from 'node:os';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { memory, version_core as tfjs } from '@tensorflow/tfjs-core';
import { AutoencoderTiny, StableDiffusionPipeline } from '@alignprop/diffusion';
import type { EstimatorName } from '@alignprop/trainer';
import { engines } from './engines.js';
import { measurements, type BenchOptions, type Savings } from './measurements.js';
import { formatTable, type Row, type WatchedRow } from './table.js';
import { watchMemory } from './watch-memory.js';

const { values: flags } = parseArgs({
  options: {
    engine: { type: 'string', default: 'onnxruntime,wasm' },
    threads: { type: 'string' },
    'max-memory': { type: 'string' }, // of ONNX Runtime's engine, in MB
    attached: { type: 'string', default: '1' },
    model: { type: 'string', default: fileURLToPath(new URL('../../packages/cli/models/tiny-emoji', import.meta.url)) },
    size: { type: 'string' },
    batch: { type: 'string', default: '1' },
    steps: { type: 'string', default: '20' },
    runs: { type: 'string', default: '5' },
    rank: { type: 'string', default: '4' }, // of the adapter of training steps
    scheduler: { type: 'string', default: 'ddim' }, // of training steps
    guidance: { type: 'string', default: '5' },
    estimator: { type: 'string' }, // of training steps, in place of the last --attached ones
    'cfg-gradient': { type: 'string' },
    'guidance-interval': { type: 'string' },
    'reuse-features': { type: 'string' },
    'reward-crop': { type: 'string' },
    'reward-decoder': { type: 'string' },
    only: { type: 'string', default: Object.keys(measurements).join() },
    json: { type: 'boolean', default: false }, // prints the rows as JSON
    row: { type: 'string' }, // set in the child process that measures this row
  },
});
const options: BenchOptions = {
  batch: Number(flags.batch),
  size: flags.size ? Number(flags.size) : undefined,
  steps: Number(flags.steps),
  attached: flags.attached === 'all' ? Number(flags.steps) : Number(flags.attached),
  runs: Number(flags.runs),
  rank: Number(flags.rank),
  scheduler: flags.scheduler,
  guidanceScale: Number(flags.guidance),
  estimator: flags.estimator as EstimatorName | undefined,
  rewardDecoder: undefined,
  savings: savings(),
};

if (flags.row) console.log(JSON.stringify(await measureRow(flags.row)));
else await printTable();

/** Returns the options of cheaper gradients that flags set; the trainer checks their values. */
function savings(): Savings {
  const numbers = (name: 'guidance-interval' | 'reuse-features' | 'reward-crop') => flags[name]?.split(',').map(Number);
  const all = {
    cfg_gradient: flags['cfg-gradient'],
    guidance_interval: numbers('guidance-interval'),
    reuse_features: numbers('reuse-features')?.[0],
    reward_crop: numbers('reward-crop')?.[0],
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)) as Savings;
}

async function measureRow(name: string): Promise<Row> {
  const { engine, heapBytes } = await known(
    engines,
    flags.engine,
    'engine',
  )({
    threads: flags.threads ? Number(flags.threads) : undefined,
    maxMemory: flags['max-memory'] ? 1e6 * Number(flags['max-memory']) : undefined,
  });
  const pipeline = await StableDiffusionPipeline.fromPretrained(flags.model, { engine });
  const { label, measure } = known(measurements, name, 'row');
  const decoder = flags['reward-decoder'];
  const rewardDecoder = decoder === undefined ? undefined : await AutoencoderTiny.fromPretrained(decoder);
  const all = { ...options, rewardDecoder };
  const [first, ...seconds] = await measure(pipeline, all);
  return {
    label: label(all),
    first: first!,
    seconds,
    peakResident: process.resourceUsage().maxRSS * 1024,
    heap: heapBytes(),
    tensors: memory().numBytes,
  };
}

/** Measures each row on every engine in turn, so that other load on the machine affects all of them. */
async function printTable(): Promise<void> {
  const log = flags.json ? console.error : console.log;
  log(
    `${flags.model} · ${cpus().length} × ${cpus()[0]!.model} · ${(totalmem() / 2 ** 30).toFixed(0)} GiB · ` +
      `Node ${process.versions.node} · tfjs-core ${tfjs}\n`,
  );
  const rows: WatchedRow[] = [];
  for (const row of flags.only.split(','))
    for (const engine of flags.engine.split(',')) rows.push(await watchedRow(row, engine));
  console.log(flags.json ? JSON.stringify(rows) : formatTable(rows));
}

async function watchedRow(row: string, engine: string): Promise<WatchedRow> {
  const child = spawn(
    process.execPath,
    [...process.execArgv, ...process.argv.slice(1), '--engine', engine, '--row', row],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const peakInUse = watchMemory(child.pid!);
  const [output, [status]] = await Promise.all([text(child.stdout), once(child, 'exit')]);
  if (status !== 0) throw new Error(`bench: ${row} on ${engine} ended with status ${status}.`);
  const measured = JSON.parse(output.trim().split('\n').at(-1)!) as Row;
  return { ...measured, label: `${measured.label} · ${engine}`, peakInUse: peakInUse() };
}

function known<T>(table: Readonly<Record<string, T>>, name: string, what: string): T {
  const entry = table[name];
  if (!entry) throw new Error(`bench: ${what} got '${name}', expected one of ${Object.keys(table).join(', ')}.`);
  return entry;
}
