// npm run bench [-- --engine onnxruntime,wasm --model DIR --size PIXELS --batch 1 --steps 20 --attached 3 --threads 2
// --runs 5 --only unet,image,train --scheduler ddim --guidance 5 --reward-decoder DIR]
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
import { engines } from './engines.js';
import { measurements, type BenchOptions } from './measurements.js';
import { formatTable, type Row, type WatchedRow } from './table.js';
import { watchMemory } from './watch-memory.js';

const { values: flags } = parseArgs({
  options: {
    engine: { type: 'string', default: 'onnxruntime,wasm' },
    threads: { type: 'string' },
    attached: { type: 'string', default: '1' },
    model: { type: 'string', default: fileURLToPath(new URL('../../packages/cli/models/tiny-emoji', import.meta.url)) },
    size: { type: 'string' },
    batch: { type: 'string', default: '1' },
    steps: { type: 'string', default: '20' },
    runs: { type: 'string', default: '5' },
    scheduler: { type: 'string', default: 'ddim' }, // of training steps
    guidance: { type: 'string', default: '5' },
    'reward-decoder': { type: 'string' },
    only: { type: 'string', default: Object.keys(measurements).join() },
    row: { type: 'string' }, // set in the child process that measures this row
  },
});
const options: BenchOptions = {
  batch: Number(flags.batch),
  size: flags.size ? Number(flags.size) : undefined,
  steps: Number(flags.steps),
  attached: flags.attached === 'all' ? Number(flags.steps) : Number(flags.attached),
  runs: Number(flags.runs),
  scheduler: flags.scheduler,
  guidanceScale: Number(flags.guidance),
  rewardDecoder: undefined,
};

if (flags.row) console.log(JSON.stringify(await measureRow(flags.row)));
else await printTable();

async function measureRow(name: string): Promise<Row> {
  const { engine, heapBytes } = await known(
    engines,
    flags.engine,
    'engine',
  )(flags.threads ? Number(flags.threads) : undefined);
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
  console.log(
    `${flags.model} · ${cpus().length} × ${cpus()[0]!.model} · ${(totalmem() / 2 ** 30).toFixed(0)} GiB · ` +
      `Node ${process.versions.node} · tfjs-core ${tfjs}\n`,
  );
  const rows: WatchedRow[] = [];
  for (const row of flags.only.split(','))
    for (const engine of flags.engine.split(',')) rows.push(await watchedRow(row, engine));
  console.log(formatTable(rows));
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
