import { availableParallelism, cpus, freemem, totalmem } from 'node:os';
import { InvalidArgumentError, Option, type Command } from 'commander';
import {
  backendNames,
  createEngine,
  devices,
  engineNames,
  type BackendName,
  type Device,
  type Engine,
  type EngineName,
  type Precision,
} from '@alignprop/autograd-ext';
import type { Output } from '../terminal/output.js';

/** What computes. */
export interface EngineOptions {
  engine?: EngineName;
  backend?: BackendName;
  device?: Device;
  threads?: number;
  /** In bytes. */
  maxMemory?: number;
  precision?: Precision;
}

/** Adds the options that say what computes. */
export function engineOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--engine <name>', 'What computes. (default: onnxruntime where it is installed, else tfjs)').choices(
        engineNames,
      ),
    )
    .addOption(new Option('--device <name>', 'Where onnxruntime computes. (default: cpu)').choices(devices))
    .addOption(new Option('--threads <n>', 'Threads of onnxruntime. (default: all cores)').argParser(threads))
    .addOption(
      new Option(
        '--max-memory <size>',
        'What onnxruntime may keep between a step down and its step up, such as 8GB or 50%. (default: 70 % of what is free)',
      ).argParser(memory),
    )
    .addOption(
      new Option(
        '--backend <name>',
        "tfjs's backend; asking for one asks for the engine tfjs. (default: wasm)",
      ).choices(backendNames),
    );
}

/** @throws if what is asked for is not installed */
export async function startEngine(
  { engine, backend, device, threads: count, maxMemory, precision }: EngineOptions,
  output: Output,
): Promise<Engine> {
  return createEngine({
    engine: engine ?? (device ? 'onnxruntime' : undefined),
    backend,
    ...(device && { device }),
    ...(count && { threads: count }),
    ...(maxMemory && { maxMemory }),
    ...(precision && { precision }),
    onCompile: ({ name, nodes, seconds }) => {
      if (seconds !== undefined && seconds > 1)
        output.info(`Compiled ${name}: ${nodes} operators in ${seconds.toFixed(1)} s`);
    },
  });
}

/** Whether products in float16 gain anything there. */
export const hasFloat16 = ({ engine = 'onnxruntime', device = 'cpu' }: EngineOptions): boolean =>
  engine === 'onnxruntime' && device !== 'cpu';

/**
 * What one of several processes takes of a machine by default: its part of the cores, and of the memory that is free
 * before any of them has loaded a model.
 */
export function shareOfMachine(processes: number): Pick<EngineOptions, 'threads' | 'maxMemory'> {
  if (processes === 1) return {};
  return { threads: Math.min(availableParallelism(), coresEach(processes)), maxMemory: (0.5 * freemem()) / processes };
}

/**
 * Says so if a launcher has bound this process to fewer cores than there are for it, as Open MPI does with two
 * processes.
 */
export function describeBinding(processes: number): string | undefined {
  const [bound, cores] = [availableParallelism(), coresEach(processes)];
  if (bound >= cores) return undefined;
  return `Each process may use ${bound} of ${cpus().length} cores, ${cores} are there for each of ${processes}. Start them with mpirun --bind-to none.`;
}

const coresEach = (processes: number): number => Math.max(1, Math.floor(cpus().length / processes));

function threads(text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1) throw new InvalidArgumentError('Expected a whole number from 1.');
  return count;
}

function memory(text: string): number {
  const [, amount, unit = ''] = /^([\d.]+)\s*(%|[kKmMgGtT]?i?[bB]?)$/.exec(text.trim()) ?? [];
  const factor =
    unit === '%'
      ? totalmem() / 100
      : (unit.toLowerCase().includes('i') ? 1024 : 1000) **
        ' kmgt'.indexOf(unit[0]?.toLowerCase().replace('b', ' ') ?? ' ');
  const bytes = Number(amount) * factor;
  if (!(bytes > 0)) throw new InvalidArgumentError('Expected a size such as 8GB, 500MB or 50%.');
  return bytes;
}
