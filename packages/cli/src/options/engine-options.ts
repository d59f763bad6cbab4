import { availableParallelism, cpus, freemem } from 'node:os';
import { Option, type Command } from 'commander';
import {
  backendNames,
  createEngine,
  devices,
  engineNames,
  tensorflowDevice,
  type BackendName,
  type Device,
  type Engine,
  type EngineName,
  type Precision,
} from '@alignprop/autograd-ext';
import type { Output } from '../terminal/output.js';
import { integerParser, parseMemory } from './option-parsers.js';

/** Values of the options that select and configure the engine. */
export interface EngineOptions {
  engine?: EngineName;
  backend?: BackendName;
  device?: Device;
  threads?: number;
  /** In bytes. */
  maxMemory?: number;
  precision?: Precision;
}

/** Adds `--engine`, `--device`, `--threads`, `--max-memory` and `--backend`. */
export function addEngineOptions(command: Command): Command {
  return command
    .addOption(
      new Option(
        '--engine <name>',
        'Engine that runs the model. (default: onnxruntime where it is installed, else tfjs)',
      ).choices(engineNames),
    )
    .addOption(new Option('--device <name>', 'Device that onnxruntime runs on. (default: cpu)').choices(devices))
    .addOption(
      new Option(
        '--threads <n>',
        'Number of threads of onnxruntime or of the backend tensorflow. ' +
          '(default: OMP_NUM_THREADS or one for each physical core, of tensorflow all cores)',
      ).argParser(integerParser(1, 1024)),
    )
    .addOption(
      new Option(
        '--max-memory <size>',
        'Memory of the whole process under onnxruntime, such as 8GB or 50%. To keep it, gradients are computed in ' +
          'segments and activations are computed again. (default: 70 % of the free memory)',
      ).argParser(parseMemory),
    )
    .addOption(
      new Option(
        '--backend <name>',
        'tfjs backend; selects the tfjs engine unless --engine or --device is given. ' +
          'tensorflow needs alignprop setup tensorflow. (default: wasm)',
      ).choices(backendNames),
    );
}

/** @throws if the requested engine is not installed, or its backend cannot start */
export async function startEngine(
  { engine, backend, device, threads, maxMemory, precision }: EngineOptions,
  output: Output,
): Promise<Engine> {
  const created = await createEngine({
    engine: engine ?? (device ? 'onnxruntime' : undefined),
    backend,
    ...(device && { device }),
    ...(threads && { threads }),
    ...(maxMemory && { maxMemory }),
    ...(precision && { precision }),
    onWarning: (message) => output.warn(message),
    onCompile: ({ name, nodes, seconds }) => {
      if (seconds !== undefined && seconds > 1)
        output.info(`Compiled ${name}: ${nodes} operators in ${seconds.toFixed(1)} s`);
    },
  });
  if (created.name === 'tfjs' && backend === 'tensorflow') reportTensorflow(output);
  return created;
}

/** Names TensorFlow and its device, and warns loudly where the package for GPUs computes on the CPU. */
function reportTensorflow(output: Output): void {
  const { version, device, isGpuExpected } = tensorflowDevice()!;
  output.info(`TensorFlow ${version} on the ${device.toUpperCase()}`);
  if (isGpuExpected && device === 'cpu')
    output.warn(
      '@tensorflow/tfjs-node-gpu found no GPU, and TensorFlow RUNS ON THE CPU. ' +
        "'npm run gpu-check' in the repository, or docs/tensorflow.md, say what is missing.",
    );
}

/** The precisions by their names in TRL and accelerate; `none` is TRL's other spelling of `no`. */
export const precisions = { no: 'float32', none: 'float32', fp16: 'float16', bf16: 'bfloat16' } as const;

export type MixedPrecision = keyof typeof precisions;

/**
 * Returns the precision of products for `mixed_precision`: as given on the tensorflow backend, float16 on onnxruntime
 * where the device gains from it, else float32.
 */
export function precisionOf(mixed: MixedPrecision, options: EngineOptions): Precision {
  const isTensorflow = options.backend === 'tensorflow' && options.engine !== 'onnxruntime' && !options.device;
  if (mixed === 'bf16') return isTensorflow ? 'bfloat16' : 'float32';
  return mixed === 'fp16' && (isTensorflow || hasFloat16(options)) ? 'float16' : 'float32';
}

/** Whether the selected engine gains from float16: onnxruntime on any device other than the CPU. */
const hasFloat16 = ({ engine = 'onnxruntime', device = 'cpu' }: EngineOptions): boolean =>
  engine === 'onnxruntime' && device !== 'cpu';

/**
 * Default resources of one of several processes on this machine: an equal share of the cores, and of half the memory
 * that is free before any process has loaded a model. Empty for a single process, whose engine has its own defaults.
 */
export function shareOfMachine(processes: number): Pick<EngineOptions, 'threads' | 'maxMemory'> {
  if (processes === 1) return {};
  return {
    threads: Math.min(availableParallelism(), coresPerProcess(processes)),
    maxMemory: (0.5 * freemem()) / processes,
  };
}

/**
 * Returns a warning if the launcher has bound this process to fewer cores than its share, as Open MPI does by default
 * with two processes.
 */
export function bindingWarning(processes: number): string | undefined {
  const [boundCores, share] = [availableParallelism(), coresPerProcess(processes)];
  if (boundCores >= share) return undefined;
  return (
    `Each process may use ${boundCores} of ${cpus().length} cores, but ${share} are available to each of ` +
    `${processes} processes. Start them with mpirun --bind-to none.`
  );
}

const coresPerProcess = (processes: number): number => Math.max(1, Math.floor(cpus().length / processes));
