import { freemem } from 'node:os';
import { memoryUsage } from 'node:process';
import { elementCount, useBackend, type EngineName } from '@alignprop/autograd-ext';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import type { RewardFunction } from '@alignprop/rewards';
import {
  ddpoDryRun,
  dryRun,
  type AlignPropConfig,
  type DataExample,
  type DDPOConfig,
  type DDPODryRun,
  type DryRun,
} from '@alignprop/trainer';
import { describeData, type RunData } from '../options/data-options.js';
import type { UserReward } from '../options/reward-file.js';
import { isAlignProp, type RunConfig } from '../options/run-config.js';
import type { Output } from '../terminal/output.js';
import { table } from '../terminal/table.js';
import type { TrainingJob } from './training-run.js';

/** A training job that is described and not run. */
export interface DryRunJob extends Pick<
  TrainingJob,
  'config' | 'pipeline' | 'prompts' | 'reward' | 'evalReward' | 'evalPrompts' | 'guardPrompts' | 'rewardDecoder'
> {
  /** Whether a flag or the configuration file has set a field: 'flag' or 'file' by the name of the field. */
  sources: Readonly<Record<string, string>>;
  /** The value of `--max-memory` in bytes; by default 70 % of the free memory. */
  maxMemory?: number;
  /** The data beside the reward. */
  data?: RunData;
}

/** Growth of the resident size when computing begins, from ONNX Runtime's first session and V8's heap; measured. */
const programGrowth = 30 * 2 ** 20;

/** The wasm backend of tfjs, which holds the trained weights and the optimizer's state, has 32-bit addresses. */
const wasmLimit = 2 ** 32;

/** The estimated peak memory, its parts, and the free memory, in bytes. */
interface MemoryReport {
  parts: Readonly<Record<string, number>>;
  total: number;
  free: number;
}

/** The work of an algorithm, as a record for --json and as lines, and its options that reduce memory. */
interface Plan {
  readonly record: Readonly<Record<string, unknown>>;
  readonly lines: readonly string[];
  /** Bytes outside the engine and the optimizer, by name. */
  readonly memory?: Readonly<Record<string, number>>;
  /** Name the options that make batches smaller. */
  readonly smallerBatches: readonly string[];
}

/** Prints the configuration, the training plan, the output files and the estimated peak memory of a run. */
export async function reportDryRun(job: DryRunJob, output: Output): Promise<void> {
  const { config, pipeline, evalPrompts, sources } = job;
  const program = memoryUsage.rss() + programGrowth;
  const free = freemem();
  const engine = pipeline.engine.name === 'tfjs' ? 'tfjs' : 'onnxruntime';
  await useBackend('cpu'); // zeros take no memory on it
  const { run, plan } = await simulate(job, engine, free);
  const parts = { ...memoryParts(run), ...plan.memory, program };
  const memory = { parts, total: Object.values(parts).reduce((sum, bytes) => sum + bytes, 0), free };
  const writes = outputFiles(config, evalPrompts !== undefined);
  output.result(
    {
      event: 'dry_run',
      config,
      sources,
      ...plan.record,
      trainable_parameters: run.trainableParameters,
      writes,
      engine,
      memory: { total: memory.total, at: run.memory.running, free, ...parts },
    },
    reportText(job, { run, plan, writes, memory }),
  );
}

type AnyDryRun = DryRun | DDPODryRun;

/** Simulates the algorithm of a job. @param free bytes */
async function simulate(
  { config, pipeline, prompts, reward, evalReward = reward, ...job }: DryRunJob,
  engine: EngineName,
  free: number,
): Promise<{ run: AnyDryRun; plan: Plan }> {
  const held = job.guardPrompts ?? job.evalPrompts;
  const inputs = {
    pipeline,
    evaluation: held && { ...held, rewardFunction: silently(evalReward) },
    prompt: prompts.prompts[0],
    promptMetadata: prompts.promptMetadata?.[0],
    engine: { engine, maxMemory: job.maxMemory ?? 0.7 * free, precision: pipeline.engine.precision },
  };
  if (!isAlignProp(config)) {
    const run = await ddpoDryRun({ ...inputs, config, rewardFunction: silently(reward) });
    return { run, plan: ddpoPlan(run, config) };
  }
  // Its options were checked: they name a reward with a gradient.
  const run = await dryRun({
    ...inputs,
    config,
    rewardFunction: reward as RewardFunction,
    rewardDecoder: job.rewardDecoder,
    dataset: job.data && [blankExample(pipeline, config)],
  });
  return { run, plan: alignPropPlan(run, config, job.data) };
}

/** Latents without values. Pictures are encoded before training, on an engine that is freed then. */
function blankExample(pipeline: StableDiffusionPipeline, { height, width }: AlignPropConfig): DataExample {
  const shape = pipeline.latentShape({ batch: 1, height: height ?? undefined, width: width ?? undefined });
  return { caption: '', latents: new Float32Array(elementCount(shape)) };
}

/** Says how many pictures a micro-batch takes of the data, and what for. */
function describeUse(data: RunData, { estimator_images: images, ...config }: AlignPropConfig): string {
  const starts = images === 'dataset' ? [`${config.train_batch_size} to start from`] : [];
  const beside = config.data_weight > 0 ? [`${config.data_batch_size} beside them`] : [];
  return `${describeData(data)}: ${[...starts, ...beside].join(' and ')} each time`;
}

function alignPropPlan(
  { attachProbabilities, mostAttached, effectiveBatch }: DryRun,
  config: AlignPropConfig,
  data?: RunData,
): Plan {
  const { sample_num_steps, train_batch_size, train_gradient_accumulation_steps } = config;
  const dataLine = data && `Data        ${describeUse(data, config)}`;
  return {
    record: {
      ...(data && { data: describeData(data) }),
      attach_probabilities: attachProbabilities,
      most_attached: mostAttached,
      effective_batch: effectiveBatch,
    },
    lines: [
      `Attached    ${attachText(attachProbabilities)}`,
      `            at most ${mostAttached} of ${sample_num_steps} steps in this run`,
      `Batch       ${effectiveBatch} images an optimizer step: ` +
        `${train_batch_size} at once, ${train_gradient_accumulation_steps} times`,
      ...(dataLine ? [dataLine] : []),
    ],
    smallerBatches: ['make --train-batch-size smaller and --train-gradient-accumulation-steps larger'],
  };
}

function ddpoPlan(
  { images, optimizerSteps, unetCalls, samples }: DDPODryRun,
  { sample_batch_size: sampled, sample_num_batches_per_epoch, train_batch_size, num_epochs }: DDPOConfig,
): Plan {
  const { sampling, gradient } = unetCalls;
  const count = (n: number) => n.toLocaleString('en');
  return {
    record: {
      images_per_epoch: images,
      optimizer_steps_per_epoch: optimizerSteps,
      unet_calls_per_epoch: unetCalls,
    },
    lines: [
      `Epoch       ${count(images)} images, drawn ${sampled} at once, ${sample_num_batches_per_epoch} times; ` +
        `then ${count(optimizerSteps)} optimizer steps`,
      `UNet        ${count(sampling)} calls an epoch to draw ${sampled} at once, ` +
        `and ${count(gradient)} with a gradient to train on ${train_batch_size} at once`,
      `            ${count(num_epochs * sampling)} and ${count(num_epochs * gradient)} in ${count(num_epochs)} epochs`,
    ],
    memory: { samples },
    smallerBatches: [
      'make --train-batch-size smaller and --train-gradient-accumulation-steps larger',
      'make --sample-batch-size smaller and --sample-num-batches-per-epoch larger',
    ],
  };
}

/** Replaces a function that may ask a service by one that asks nothing. The memory of either is not the engine's. */
const silently = (reward: UserReward): UserReward =>
  'model' in reward ? reward : (images) => new Float32Array(images.shape[0]);

function reportText(
  { config, sources, rewardDecoder, maxMemory = 0 }: DryRunJob,
  { run, plan, writes, memory }: { run: AnyDryRun; plan: Plan; writes: readonly string[]; memory: MemoryReport },
): string {
  const { running } = run.memory;
  return [
    configText(config, sources),
    ...plan.lines,
    ...(rewardDecoder ? [decoderText] : []),
    `Trains      ${run.trainableParameters.toLocaleString('en')} parameters`,
    `Writes      ${writes.join('\n            ')}`,
    `Memory      at its peak, ${running === 'nothing' ? 'while no function runs' : `in ${running}`}:`,
    '',
    memoryText(memory),
    '',
    advice(run, plan, config, memory, maxMemory),
  ].join('\n');
}

const decoderText =
  'Decoder     the reward judges what the reward decoder makes of latents; pictures and evaluations are drawn by\n' +
  "            the model's own decoder";

/** Returns the parts of the estimated peak memory in bytes. */
function memoryParts({ memory, optimizer }: AnyDryRun): Record<string, number> {
  const { weights, activations, kept, copies, sessions } = memory;
  const saved = Object.fromEntries(
    Object.entries(kept)
      .filter(([, bytes]) => bytes > 0)
      .map(([name, bytes]) => [name === 'UNet' ? 'kept steps' : `kept ${name}`, bytes]),
  );
  return { weights, 'compiled graphs': sessions, activations, ...saved, 'copies of results': copies, optimizer };
}

const memoryText = ({ parts, total }: MemoryReport): string =>
  table([
    ['', 'MB'],
    ...Object.entries(parts)
      .filter(([, bytes]) => bytes >= 2 ** 19)
      .map(([name, bytes]) => [name, megabytes(bytes)]),
    ['total', megabytes(total)],
  ]).replace(/^/gm, '            ');

const megabytes = (bytes: number): string => (bytes / 2 ** 20).toFixed(0);

function configText(config: object, sources: Readonly<Record<string, string>>): string {
  const width = Math.max(...Object.keys(config).map((key) => key.length));
  const lines = Object.entries(config).map(([key, value]) => {
    const source = sources[key] ? `  (${sources[key]})` : '';
    return `${key.padEnd(width)}  ${JSON.stringify(value)}${source}\n`;
  });
  return lines.join('');
}

/** Lists the probability that each step is attached; adjacent steps with the same one share an entry. */
function attachText(probabilities: readonly number[]): string {
  const shown = probabilities.map((probability) =>
    probability === 0 ? '0' : probability === 1 ? '1' : probability.toFixed(3),
  );
  const runs: { from: number; to: number; text: string }[] = [];
  shown.forEach((text, step) => {
    const last = runs.at(-1);
    if (last?.text === text) last.to = step;
    else runs.push({ from: step, to: step, text });
  });
  return runs
    .map(({ from, to, text }) => `step ${from === to ? from : `${from} to ${to}`}: ${text}`)
    .join(', ')
    .replace(/(.{60,90}?), /g, '$1,\n            ');
}

function outputFiles(config: RunConfig, hasEvalPrompts: boolean): readonly string[] {
  const names = [
    config.use_lora ? 'pytorch_lora_weights.safetensors' : 'unet/',
    'config.json',
    'README.md',
    'metrics.jsonl',
    'samples/',
    'checkpoints/',
    ...(hasEvalPrompts ? ['before-after.png', 'pictures/'] : []),
    ...(config.eval_freq === null ? [] : ['evaluations.jsonl', 'best/']),
    ...(config.log_with === 'tensorboard' ? [`${config.tracker_project_name}/`] : []),
    ...(config.log_with === 'wandb' ? ['wandb/'] : []),
  ];
  return names.map((name) => `${config.output_dir}/${name}`);
}

/** Says whether the run fits into memory and, if not, which options reduce its memory. */
function advice(
  { optimizer }: AnyDryRun,
  plan: Plan,
  { use_lora, train_use_8bit_adam }: RunConfig,
  { total, free }: MemoryReport,
  maxMemory: number,
): string {
  const exceedsFree = total > free;
  if (!exceedsFree && optimizer <= wasmLimit) return `It fits into the ${megabytes(free)} MB that are free.`;
  const remedies = [
    ...(maxMemory > free ? [`give --max-memory ${Math.floor((0.9 * free) / 1e6)}MB or leave it out`] : []),
    ...(use_lora ? [] : ['train an adapter (--use-lora)']),
    ...(use_lora || train_use_8bit_adam ? [] : ['use --train-use-8bit-adam']),
    ...plan.smallerBatches,
    'make images smaller (--height, --width)',
  ];
  const problem = exceedsFree
    ? `It does not fit into the ${megabytes(free)} MB that are free`
    : 'The trained weights and the state of the optimizer do not fit into the 4096 MB that tfjs can address';
  return `${problem}. To reduce memory: ${remedies.join('; or ')}.`;
}
