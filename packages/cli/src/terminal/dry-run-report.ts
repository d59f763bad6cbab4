import { freemem } from 'node:os';
import { memoryUsage } from 'node:process';
import { useBackend } from '@alignprop/autograd-ext';
import { dryRun, type DryRun } from '@alignprop/trainer';
import type { Output } from './output.js';
import type { TrainingJob } from '../commands/training-run.js';
import { table } from './table.js';

export interface DryRunJob extends Omit<TrainingJob, 'resumeCommand'> {
  /** What is not as by default, and who said so: a flag or the configuration file. */
  sources: Readonly<Record<string, string>>;
  /** Bytes, as `--max-memory`; by default 70 % of what is free. */
  maxMemory?: number;
}

/** Beyond what the program holds before it computes: ONNX Runtime's first session, and the heap's growth; measured. */
const programGrowth = 30 * 2 ** 20;

/** Says what the run would be, train and take, and runs and writes nothing. */
export async function reportDryRun(
  { config, pipeline, reward, evalReward = reward, prompts, evalPrompts = [], sources, maxMemory }: DryRunJob,
  output: Output,
): Promise<void> {
  const program = memoryUsage.rss() + programGrowth;
  const free = freemem();
  const engine = pipeline.engine.name === 'tfjs' ? 'tfjs' : 'onnxruntime';
  await useBackend('cpu'); // where zeros take no memory
  const evaluation = evalPrompts.length > 0 ? { prompts: evalPrompts, rewardFunction: evalReward } : undefined;
  const run = await dryRun({
    config,
    pipeline,
    rewardFunction: reward,
    evaluation,
    prompt: prompts[0],
    engine: { engine, maxMemory: maxMemory ?? 0.7 * free, precision: pipeline.engine.precision },
  });
  const parts = { ...partsOf(run), program };
  const total = Object.values(parts).reduce((sum, bytes) => sum + bytes, 0);
  const writes = filesOf(config, evalPrompts.length > 0);
  const { attachProbabilities, effectiveBatch, trainableParameters, mostAttached } = run;
  output.result(
    {
      event: 'dry_run',
      config,
      sources,
      attach_probabilities: attachProbabilities,
      most_attached: mostAttached,
      effective_batch: effectiveBatch,
      trainable_parameters: trainableParameters,
      writes,
      engine,
      memory: { total, at: run.memory.running, free, ...parts },
    },
    [
      configText(config, sources),
      `Attached    ${attachText(attachProbabilities)}\n            at most ${mostAttached} steps of ${config.sample_num_steps} in this run`,
      `Batch       ${effectiveBatch} images an optimizer step: ${config.train_batch_size} at once, ${config.train_gradient_accumulation_steps} times`,
      `Trains      ${trainableParameters.toLocaleString('en')} parameters`,
      `Writes      ${writes.join('\n            ')}`,
      `Memory      at its peak, ${run.memory.running === 'nothing' ? 'at rest' : `in ${run.memory.running}`}:\n\n${memoryText(parts, total)}\n`,
      advice(run, config, total, free),
    ].join('\n'),
  );
}

/** By what takes it. */
function partsOf({ memory, optimizer }: DryRun): Record<string, number> {
  const { weights, activations, kept, copies, sessions } = memory;
  const named = Object.fromEntries(
    Object.entries(kept)
      .filter(([, bytes]) => bytes > 0)
      .map(([name, bytes]) => [name === 'UNet' ? 'kept steps' : `kept ${name}`, bytes]),
  );
  return { weights, 'compiled graphs': sessions, activations, ...named, 'copies of results': copies, optimizer };
}

const memoryText = (parts: Readonly<Record<string, number>>, total: number): string =>
  table([
    ['', 'MB'],
    ...Object.entries(parts)
      .filter(([, bytes]) => bytes >= 2 ** 19)
      .map(([name, bytes]) => [name, megabytes(bytes)]),
    ['in all', megabytes(total)],
  ]).replace(/^/gm, '            ');

const megabytes = (bytes: number): string => (bytes / 2 ** 20).toFixed(0);

function configText(config: object, sources: Readonly<Record<string, string>>): string {
  const fields = Object.entries(config).map(([key, value]) => [key, JSON.stringify(value), sources[key] ?? '']);
  const width = Math.max(...fields.map(([key]) => key!.length));
  return `${fields.map(([key, value, source]) => `${key!.padEnd(width)}  ${value}${source ? `  (${source})` : ''}`).join('\n')}\n`;
}

/** Neighbouring steps of the same probability are one entry. */
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

function filesOf(config: TrainingJob['config'], judges: boolean): readonly string[] {
  const trained = config.use_lora ? 'pytorch_lora_weights.safetensors' : 'unet/';
  const tracked = config.log_with === 'tensorboard' ? [`${config.tracker_project_name}/`] : [];
  const held = [
    ...(judges ? ['before-after.png'] : []),
    ...(config.eval_freq === null ? [] : ['evaluations.jsonl', 'best/']),
  ];
  return [trained, 'config.json', 'metrics.jsonl', 'samples/', 'checkpoints/', ...held, ...tracked].map(
    (name) => `${config.output_dir}/${name}`,
  );
}

/** tfjs's wasm, which holds what is trained, has addresses for no more. */
const wasmLimit = 2 ** 32;

/** What to change where it does not fit. */
function advice(
  { memory, optimizer, mostAttached }: DryRun,
  { use_lora, train_use_8bit_adam }: TrainingJob['config'],
  total: number,
  free: number,
): string {
  const fits = total <= free && optimizer <= wasmLimit;
  if (fits) return `It fits into the ${megabytes(free)} MB that are free.`;
  const room = free - total + (memory.kept.UNet ?? 0);
  const remedies = [
    ...(room > 0 && total > free
      ? [
          `give --max-memory ${Math.max(1, Math.floor(room / 1e6))}MB or less, which computes more of the ${mostAttached} attached steps twice`,
        ]
      : []),
    ...(use_lora
      ? []
      : ['train an adapter (--use-lora)', ...(train_use_8bit_adam ? [] : ['take --train-use-8bit-adam'])]),
    'make --train-batch-size smaller and --train-gradient-accumulation-steps larger',
    'make images smaller (--height, --width)',
  ];
  const problem =
    total > free
      ? `It does not fit into the ${megabytes(free)} MB that are free`
      : 'What is trained does not fit into the 4096 MB that tfjs can hold';
  return `${problem}. To need less: ${remedies.join('; or ')}.`;
}
