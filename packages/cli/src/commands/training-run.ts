import { readdir } from 'node:fs/promises';
import { dispose } from '@tensorflow/tfjs-core';
import { trainable, type Engine, type Params } from '@alignprop/autograd-ext';
import type { Decoder, StableDiffusionPipeline } from '@alignprop/diffusion';
import {
  metricsRecord,
  trainableDora,
  trainableUNet,
  type AlignPropConfigInput,
  type ManifestParts,
  type Phase,
  type StepMetrics,
} from '@alignprop/trainer';
import {
  byRankZero,
  exchange,
  launchCommand,
  shared,
  singleProcess,
  type Collective,
} from '@alignprop/trainer/distributed';
import type { Algorithm } from '../options/algorithm.js';
import { hashText } from '../options/fingerprint.js';
import type { RunData } from '../options/data-options.js';
import type { PromptList } from '../options/prompt-columns.js';
import type { UserReward } from '../options/reward-file.js';
import type { RunConfig } from '../options/run-config.js';
import { Interrupted } from '../terminal/errors.js';
import { interruptible } from '../terminal/interrupt.js';
import type { Output } from '../terminal/output.js';
import { clock, type Progress } from '../terminal/progress.js';
import { compareWithBefore, type Comparison } from './comparison.js';
import { createTrainer, type Trainer } from './create-trainer.js';
import { describeRun } from './describe-run.js';
import { nextCommands, resumeCommand } from './next-commands.js';
import { engineVersions } from './run-versions.js';
import { trainingData } from './training-data.js';

/** The inputs of a training run. Its files go to `config.output_dir`. */
export interface TrainingJob {
  algorithm: Algorithm;
  /** The configuration of the algorithm. */
  config: RunConfig;
  pipeline: StableDiffusionPipeline;
  /** The pipeline as it is before training; `pipeline` by default. */
  before?: StableDiffusionPipeline;
  /** For AlignProp, a reward with a gradient. */
  reward: UserReward;
  /** Pictures to train on beside the reward; none by default. */
  data?: RunData;
  /** Loads `before` on an engine of its own, for `data`. */
  loadBefore?: () => Promise<StableDiffusionPipeline>;
  /** Decodes what `reward` judges in training; the pipeline's decoder by default. */
  rewardDecoder?: Decoder;
  /** The reward for `evalPrompts`; `reward` by default. */
  evalReward?: UserReward;
  prompts: PromptList;
  /** Held-out prompts, evaluated with and without the adapter and every `eval_freq` epochs; none by default. */
  evalPrompts?: PromptList;
  /** The prompts of the guard, evaluated every `eval_freq` epochs in place of `evalPrompts`. */
  guardPrompts?: PromptList;
  /** The processes that train together; by default only this one. */
  collective?: Collective;
  /** The inputs of the run, for its manifest. */
  manifest: ManifestParts;
  /** Contents of files, by name, that are copied into the folder. */
  files?: Readonly<Record<string, Uint8Array>>;
  /** Names of options that a resumed run may change although that is refused. */
  force?: readonly string[];
  /** The repository of the hub that the run is pushed to, for its model card. */
  repository?: string;
  /** The token for the model card of the model that is trained. */
  token?: string;
}

/**
 * Trains, prints progress and metrics, and then evaluates the held-out prompts with and without the adapter.
 * @throws Interrupted after Ctrl-C or SIGTERM, once a checkpoint is written
 */
export async function trainingRun(job: TrainingJob, output: Output): Promise<void> {
  const { config, collective = singleProcess } = job;
  const dataset = await trainingData(job, output);
  const pipeline = await trainablePipeline(job.pipeline, config);
  const manifest = withEngine(job.manifest, pipeline.engine);
  const trainer = createTrainer({ ...job, manifest, dataset }, pipeline, output);
  try {
    await interruptible(
      async (signal) => {
        await train(trainer, signal, output);
        await stopIfInterrupted(job, trainer, signal, output);
        const compare = async (): Promise<Comparison> => {
          const compared = await compareWithBefore(job, trainer, signal, output);
          if (!signal.aborted) await describeRun(job, compared, output);
          return compared;
        };
        const comparison = await byRankZero(collective, 'the comparison', undefined, () =>
          trainer.times.during('evaluation', compare),
        );
        const interruption = await interruptionOf(collective, 'the end of the evaluation', signal);
        if (interruption) throw interruption;
        await reportDone(job, trainer, comparison, output);
      },
      () => output.info('Stopping after a checkpoint is written. Press Ctrl-C again to stop at once.'),
    );
  } catch (error) {
    if (!(error instanceof Interrupted)) await showResumption(config.output_dir, trainer, output);
    throw error;
  } finally {
    trainer.dispose();
    const given = new Set<Params>(Object.values(job.pipeline.params));
    for (const params of Object.values(pipeline.params)) if (!given.has(params)) dispose(trainable(params));
  }
}

/** After an error: prints the command that goes on from the last checkpoint, if the run has got that far. */
async function showResumption(folder: string, { epoch }: Trainer, output: Output): Promise<void> {
  // eslint-disable-next-line no-restricted-syntax -- the error of the run is the one to report
  const names = await readdir(`${folder}/checkpoints`).catch(() => []);
  if (epoch === 0 || !names.some((name) => /^checkpoint_\d+$/.test(name))) return;
  const command = resumeCommand(folder, await launchCommand(process.env));
  output.warn(`the run failed after epoch ${epoch}. Continue from its last checkpoint with:\n  ${command}`);
}

/** Adds the engine that the run ended up with, which compares by its name, and the versions of its packages. */
function withEngine(manifest: ManifestParts, engine: Engine): ManifestParts {
  const text = `${engine.name}, ${engine.precision}`;
  return {
    ...manifest,
    identity: { ...manifest.identity, engine: { name: text, sha256: hashText(text) } },
    versions: { ...manifest.versions, ...engineVersions(engine) },
  };
}

/** Returns the pipeline with the weights that the trainer cannot create itself: a whole UNet, or a DoRA adapter. */
async function trainablePipeline(
  pipeline: StableDiffusionPipeline,
  config: RunConfig,
): Promise<StableDiffusionPipeline> {
  if (!config.use_lora) return trainableUNet(pipeline);
  return config.lora_kind === 'dora' ? trainableDora(pipeline, config as AlignPropConfigInput) : pipeline;
}

/** If a process was interrupted, writes a checkpoint, prints the command that continues from it, and throws. */
async function stopIfInterrupted(
  { algorithm, config, collective = singleProcess }: TrainingJob,
  trainer: Trainer,
  signal: AbortSignal,
  output: Output,
): Promise<void> {
  const interruption = await interruptionOf(collective, 'the end of training', signal);
  if (!interruption) return;
  await trainer.saveCheckpoint();
  const command = resumeCommand(config.output_dir, await launchCommand(process.env));
  const unit = algorithm === 'ddpo' ? 'epoch' : 'step';
  if (interruption.signal !== 'SIGPIPE')
    output.warn(`stopped after ${unit} ${trainer.epoch} of ${config.num_epochs}. Continue with:\n  ${command}`);
  throw interruption;
}

/** Prints where the trained weights are, and the best of all evaluations. */
async function reportDone(
  { config, prompts, evalPrompts = prompts, manifest, pipeline }: TrainingJob,
  { globalStep, best, hasCollapsed, times: { seconds } }: Trainer,
  comparison: Comparison,
  output: Output,
): Promise<void> {
  const { use_lora, output_dir } = config;
  const [kind, label, name] = use_lora
    ? (['lora', 'LoRA', 'pytorch_lora_weights.safetensors'] as const)
    : (['unet', 'UNet', 'unet'] as const);
  const [last, bestWeights] = [`${output_dir}/${name}`, `${output_dir}/best/${name}`];
  const record = best && { [kind]: bestWeights, global_step: best.step, eval_reward_mean: best.rewardMean };
  const line =
    best && `Best     ${bestWeights}: held-out reward ${best.rewardMean.toFixed(4)} after ${best.step} steps`;
  output.result(
    {
      event: 'done',
      output_dir,
      global_step: globalStep,
      [kind]: last,
      ...(record && { best: record }),
      ...{ ...comparison, pictures: undefined },
      seconds,
    },
    [`${label}     ${last}`, ...(line ? [line] : []), `Time     ${describeTimes(seconds)}`].join('\n'),
  );
  if (best && hasCollapsed)
    output.warn(
      `the pictures of ${last} have collapsed. Take those weights that are named as the best, after ` +
        `${best.step} steps, or train again with a lower --train-learning-rate, a --kl-weight or a --data-weight.`,
    );
  const adapter = use_lora ? (best ? bestWeights : last) : undefined;
  const { images } = comparison;
  const launcher = await launchCommand(process.env);
  const [prompt, { options }] = [evalPrompts.prompts[0]!, manifest];
  const modelScheduler = pipeline.kind.scheduler;
  const next = nextCommands({ config, adapter, modelScheduler, prompt, options, launcher, images });
  output.info(['Next:', ...next].join('\n  '));
}

/** The phases that took half a second or more, the longest first: `gradient 6:40, sampling 5:02`. */
const describeTimes = (seconds: Readonly<Record<Phase, number>>): string =>
  Object.entries(seconds)
    .filter(([, time]) => time >= 0.5)
    .sort(([, a], [, b]) => b - a)
    .map(([phase, time]) => `${phase} ${clock(time)}`)
    .join(', ');

/** Returns the error that all processes throw if one of them was interrupted. */
async function interruptionOf(
  collective: Collective,
  at: string,
  signal: AbortSignal,
): Promise<Interrupted | undefined> {
  const names = await exchange(collective, at, signal.aborted ? (signal.reason as Interrupted).signal : null);
  const name = names.find((other) => other !== null);
  return name && shared(new Interrupted(name));
}

async function train(trainer: Trainer, signal: AbortSignal, output: Output): Promise<void> {
  let progress: Progress | undefined; // created after the first step, which tells where a resumed run continues
  try {
    for await (const metrics of trainer.train({ signal })) {
      const started = performance.now() - 1000 * metrics.seconds;
      progress ??= output.progress('Epoch', trainer.config.num_epochs, { from: metrics.epoch, started });
      progress.update(metrics.epoch + 1, describe(metrics));
      output.result({ event: 'step', ...metricsRecord(metrics) });
    }
  } finally {
    progress?.stop();
  }
}

const describe = ({ rewardMean, loss, gradNorm, seconds, approxKl }: StepMetrics): string =>
  `reward ${rewardMean.toFixed(3)}, loss ${loss.toFixed(3)}, grad ${gradNorm.toFixed(3)}, ` +
  `${seconds.toFixed(1)} s/${approxKl === undefined ? 'step' : 'epoch'}`;
