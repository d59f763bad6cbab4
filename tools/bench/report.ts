// npm run bench:report -- --model FOLDER [--sd-turbo FOLDER --sdxl FOLDER --taesd FOLDER --python python3
//   --rounds 3 --threads 2 --only unet,step,short]
// Measures ours and PyTorch's program alternately, one round of all cases after the other, and writes every measurement
// to docs/benchmarks.json and the table into docs/benchmarks.md. The folders are of the shapes of Stable Diffusion 1.5,
// of SD-Turbo, of SDXL and of a tiny decoder (random-stable-diffusion.ts writes them); cases without their folder are
// left out. Python needs torch, diffusers, transformers and peft. A round that was stopped goes on where it was.
// Nothing else may run on the machine.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { estimatorNames } from '@alignprop/trainer';
import { median, type WatchedRow } from './table.js';
import { watchMemory } from './watch-memory.js';
import { writePage } from './write-page.js';

const { values: flags } = parseArgs({
  options: {
    model: { type: 'string' },
    'sd-turbo': { type: 'string' },
    sdxl: { type: 'string' },
    taesd: { type: 'string' },
    python: { type: 'string', default: 'python3' },
    rounds: { type: 'string', default: '3' },
    threads: { type: 'string', default: '2' },
    only: { type: 'string' },
  },
});

/** A case: the flags of main.ts for our program, and of torch_step.py for PyTorch's if it has one. */
interface Case {
  readonly label: string;
  /** The flag of the folder that it needs beside the model. */
  readonly needs?: 'sd-turbo' | 'sdxl' | 'taesd';
  readonly ours: readonly string[];
  /** The options of `alignprop train --dry-run` for the same step. */
  readonly dryRun?: readonly string[];
  readonly torch?: readonly string[];
}

const fiveSteps = ['--sample-num-steps', '5', '--estimator', 'draft-k'];
const oneStep = [
  '--sample-num-steps',
  '1',
  '--estimator',
  'full',
  '--scheduler',
  'euler',
  '--sample-guidance-scale',
  '0',
];
const step = ['--only', 'train', '--runs', '1', '--steps', '5', '--attached', '1'];
const turbo = ['--only', 'train', '--runs', '1', '--steps', '1', '--attached', '1', '--scheduler', 'euler'];

/** A step with another estimator, measured once as it starts: some steps of a chain would take minutes more. */
const estimator = (name: string): Case => ({
  label: `first training step with --estimator ${name}`,
  ours: ['--only', 'train', '--runs', '0', '--steps', '5', '--estimator', name],
});

const cases: Readonly<Record<string, Case>> = {
  unet: {
    label: 'UNet call with guidance',
    ours: ['--only', 'unet', '--runs', '2'],
    torch: ['--only', 'unet'],
  },
  image: {
    label: 'image, 5 DDIM steps',
    ours: ['--only', 'image', '--runs', '1', '--steps', '5'],
    torch: ['--only', 'image', '--steps', '5'],
  },
  step: {
    label: 'training step, 5 DDIM steps, 1 attached',
    ours: step,
    dryRun: fiveSteps,
    torch: ['--steps', '5', '--attach', 'last:1'],
  },
  short: {
    label: 'the same with --max-memory 6300MB',
    ours: [...step, '--max-memory', '6300'],
    dryRun: [...fiveSteps, '--max-memory', '6300MB'],
  },
  turbo: {
    label: 'training step, 1 Euler step without guidance',
    ours: [...turbo, '--guidance', '0'],
    dryRun: oneStep,
    torch: ['--steps', '1', '--attach', 'last:1', '--scheduler', 'euler', '--guidance', '0'],
  },
  'turbo-tiny': {
    label: 'training step, 1 Euler step without guidance, tiny decoder for the reward',
    needs: 'taesd',
    ours: [...turbo, '--guidance', '0', '--reward-decoder', flags.taesd ?? ''],
    dryRun: [...oneStep, '--reward-decoder', flags.taesd ?? ''],
    torch: ['--steps', '1', '--attach', 'last:1', '--scheduler', 'euler', '--guidance', '0', '--tiny-decoder'],
  },
  'sd-turbo': {
    label: 'training step of SD-Turbo, 1 Euler step',
    needs: 'sd-turbo',
    ours: [...turbo, '--guidance', '0', '--model', flags['sd-turbo'] ?? ''],
    dryRun: [...oneStep, '--model', flags['sd-turbo'] ?? ''],
    torch: ['--model', 'sd-turbo', '--steps', '1', '--attach', 'last:1', '--scheduler', 'euler', '--guidance', '0'],
  },
  sdxl: {
    label: 'training step of SDXL at 512×512, 1 Euler step, --max-memory 11000MB',
    needs: 'sdxl',
    ours: [...turbo, '--guidance', '0', '--size', '512', '--max-memory', '11000', '--model', flags.sdxl ?? ''],
    dryRun: [...oneStep, '--model', flags.sdxl ?? '', '--max-memory', '11000MB', '--height', '512', '--width', '512'],
    torch: ['--model', 'sdxl', '--steps', '1', '--attach', 'last:1', '--scheduler', 'euler', '--guidance', '0'],
  },
  three: {
    label: 'training step, 5 DDIM steps, 3 attached',
    ours: ['--only', 'train', '--runs', '1', '--steps', '5', '--attached', '3'],
    dryRun: [...fiveSteps, '--estimator-steps', '3'],
    torch: ['--steps', '5', '--attach', 'last:3'],
  },
  conditional: {
    label: 'training step with --cfg-gradient conditional',
    ours: [...step, '--cfg-gradient', 'conditional'],
  },
  interval: { label: 'training step with --guidance-interval 0.4,1', ours: [...step, '--guidance-interval', '0.4,1'] },
  crop: { label: 'training step with --reward-crop 256', ours: [...step, '--reward-crop', '256'] },
  features: { label: 'training step with --reuse-features 2', ours: [...step, '--reuse-features', '2'] },
  ...Object.fromEntries(estimatorNames.map((name) => [name, estimator(name)])),
  preset: {
    label: 'training step with --estimator refl, median of three',
    ours: ['--only', 'train', '--runs', '3', '--steps', '5', '--estimator', 'refl'],
  },
};

/** One run of one program. */
interface Measured {
  readonly case: string;
  readonly program: 'ours' | 'PyTorch';
  readonly round: number;
  readonly seconds: number;
  /** Seconds of our first run, which starts the sessions. */
  readonly first?: number;
  /** The largest proportional set size of the program's processes, in bytes. */
  readonly memory: number;
  /** The memory that the dry run of our program predicts, in bytes. */
  readonly predicted?: number;
}

if (!flags.model) throw new Error('bench:report: got no --model, expected the folder of a pipeline.');
const page = fileURLToPath(new URL('../../docs/benchmarks', import.meta.url));
const state = `${page}.json`;
const asked = flags.only?.split(',') ?? Object.keys(cases);
const unknown = asked.filter((name) => !cases[name]);
if (unknown.length > 0)
  throw new Error(`bench:report: got ${unknown.join(', ')}, expected some of ${Object.keys(cases).join(', ')}.`);
const names = asked.filter((name) => !cases[name]!.needs || flags[cases[name]!.needs]);

const measured: Measured[] = existsSync(state)
  ? (JSON.parse(readFileSync(state, 'utf8')) as { measured: Measured[] }).measured
  : [];
write();
for (let round = 1; round <= Number(flags.rounds); round++)
  for (const name of names) {
    const { ours, dryRun, torch } = cases[name]!;
    await measureOnce({ case: name, program: 'ours', round }, async () => ({
      ...(await measureOurs(ours)),
      ...(dryRun && { predicted: await predict(dryRun) }),
    }));
    if (torch) await measureOnce({ case: name, program: 'PyTorch', round }, () => measureTorch(torch));
  }

/** Measures unless the page has the measurement already, and writes the page anew. */
async function measureOnce(
  key: Pick<Measured, 'case' | 'program' | 'round'>,
  measure: () => Promise<Omit<Measured, keyof typeof key>>,
): Promise<void> {
  const isKey = (one: Measured) => one.case === key.case && one.program === key.program && one.round === key.round;
  if (measured.some(isKey)) return;
  measured.push({ ...key, ...(await measure()) });
  console.log(JSON.stringify(measured.at(-1)));
  write();
}

function write(): void {
  writePage(page, { numbers: { machine: machine(), measured }, tables: table() });
}

/** Runs main.ts for one row. */
async function measureOurs(args: readonly string[]): Promise<Pick<Measured, 'seconds' | 'first' | 'memory'>> {
  const main = fileURLToPath(new URL('main.ts', import.meta.url));
  const all = ['--engine', 'onnxruntime', '--model', flags.model!, '--threads', flags.threads, '--json', ...args];
  const { output } = await run(process.execPath, [...process.execArgv, main, ...all]);
  const [row] = JSON.parse(output) as WatchedRow[];
  return {
    seconds: row!.seconds.length > 0 ? median(row!.seconds) : row!.first,
    first: row!.first,
    memory: row!.peakInUse!,
  };
}

/** Returns the memory that a dry run predicts, in bytes. */
async function predict(args: readonly string[]): Promise<number> {
  const main = fileURLToPath(new URL('../../packages/cli/src/main.ts', import.meta.url));
  const images = ['--train-batch-size', '1', '--train-gradient-accumulation-steps', '1'];
  const rewarded = ['--reward', 'jpeg-compressibility', '--no-guard'];
  const common = ['train', '--dry-run', '--json', '--model', flags.model!, ...rewarded, ...images];
  const { output } = await run(process.execPath, [...process.execArgv, main, ...common, ...args]);
  return (JSON.parse(output) as { memory: { total: number } }).memory.total;
}

/** Runs torch_step.py. */
async function measureTorch(args: readonly string[]): Promise<Pick<Measured, 'seconds' | 'memory'>> {
  const script = fileURLToPath(new URL('torch_step.py', import.meta.url));
  const { output, memory } = await run(flags.python, [script, '--model', 'sd15', ...args]);
  const { seconds, step_s: stepSeconds } = JSON.parse(output) as { seconds?: number; step_s?: number };
  return { seconds: seconds ?? stepSeconds!, memory };
}

/** Runs a program; its output is the last line that it prints. */
async function run(command: string, args: readonly string[]): Promise<{ output: string; memory: number }> {
  const child = spawn(command, args, {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, OMP_NUM_THREADS: flags.threads },
  });
  const peak = watchMemory(child.pid!);
  const [output, [status]] = await Promise.all([text(child.stdout), once(child, 'exit')]);
  const memory = peak() ?? 0;
  if (status !== 0) throw new Error(`bench:report: ${command} ${args.join(' ')} ended with status ${status}.`);
  return { output: output.trim().split('\n').at(-1)!, memory };
}

function machine(): Record<string, unknown> {
  return {
    processor: `${cpus().length} × ${cpus()[0]!.model}`,
    memory: totalmem(),
    node: process.versions.node,
    threads: Number(flags.threads),
  };
}

/** The table of the page: medians, their ratio, and every measurement behind them. */
function table(): string {
  const rows = Object.entries(cases).flatMap(([name, { label }]) => {
    const of = (program: Measured['program']) => measured.filter((one) => one.case === name && one.program === program);
    const [ours, torch] = [of('ours'), of('PyTorch')];
    return ours.length > 0 ? [[label, ...columns(ours, torch)]] : [];
  });
  const head = ['', 'ours, s', 'PyTorch, s', 'ratio', 'ours, MB in use', 'dry run, MB', 'PyTorch, MB in use', 'ratio'];
  return [head, head.map((_, i) => (i === 0 ? '---' : '---:')), ...rows]
    .map((row) => `| ${row.join(' | ')} |`)
    .join('\n');
}

function columns(ours: readonly Measured[], torch: readonly Measured[]): readonly string[] {
  const cell = (all: readonly Measured[], of: (one: Measured) => number, digits: number) =>
    all.length > 0
      ? `**${median(all.map(of)).toFixed(digits)}** (${all.map((one) => of(one).toFixed(digits)).join(', ')})`
      : '';
  const ratio = (of: (one: Measured) => number) =>
    torch.length > 0 ? (median(ours.map(of)) / median(torch.map(of))).toFixed(2) : '';
  const seconds = (one: Measured) => one.seconds;
  const megabytes = (one: Measured) => one.memory / 1e6;
  return [
    cell(ours, seconds, 1),
    cell(torch, seconds, 1),
    ratio(seconds),
    cell(ours, megabytes, 0),
    ours[0]!.predicted ? (ours[0]!.predicted / 1e6).toFixed(0) : '',
    cell(torch, megabytes, 0),
    ratio(megabytes),
  ];
}
