import { readdir } from 'node:fs/promises';
import { concat, dispose } from '@tensorflow/tfjs-core';
import { trainable, type Engine, type Params } from '@alignprop/autograd-ext';
import type { Autoencoder, StableDiffusionPipeline } from '@alignprop/diffusion';
import {
  evaluator,
  metricsRecord,
  trainableDora,
  trainableUNet,
  ShownImages,
  type AlignPropConfigInput,
  type EvaluatedImages,
  type EvaluationSamples,
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
import { writeSheet } from '../images/image-files.js';
import type { Algorithm } from '../options/algorithm.js';
import { hashText } from '../options/fingerprint.js';
import type { PromptList } from '../options/prompt-columns.js';
import type { UserReward } from '../options/reward-file.js';
import type { RunConfig } from '../options/run-config.js';
import { Interrupted } from '../terminal/errors.js';
import { interruptible } from '../terminal/interrupt.js';
import type { Output } from '../terminal/output.js';
import { clock, type Progress } from '../terminal/progress.js';
import { createTrainer, type Trainer } from './create-trainer.js';
import { nextCommands, resumeCommand } from './next-commands.js';
import { engineVersions } from './run-versions.js';

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
  /** Decodes what `reward` judges in training; the pipeline's decoder by default. */
  rewardDecoder?: Autoencoder;
  /** The reward for `evalPrompts`; `reward` by default. */
  evalReward?: UserReward;
  prompts: PromptList;
  /** Held-out prompts, evaluated with and without the adapter and every `eval_freq` epochs; none by default. */
  evalPrompts?: PromptList;
  /** The processes that train together; by default only this one. */
  collective?: Collective;
  /** The inputs of the run, for its manifest. */
  manifest: ManifestParts;
  /** Contents of files, by name, that are copied into the folder. */
  files?: Readonly<Record<string, Uint8Array>>;
  /** Names of options that a resumed run may change although that is refused. */
  force?: readonly string[];
}

/**
 * Trains, prints progress and metrics, and then evaluates the held-out prompts with and without the adapter.
 * @throws Interrupted after Ctrl-C or SIGTERM, once a checkpoint is written
 */
export async function trainingRun(job: TrainingJob, output: Output): Promise<void> {
  const { config, collective = singleProcess } = job;
  const pipeline = await trainablePipeline(job.pipeline, config);
  const trainer = createTrainer({ ...job, manifest: withEngine(job.manifest, pipeline.engine) }, pipeline, output);
  try {
    await interruptible(
      async (signal) => {
        await train(trainer, signal, output);
        await stopIfInterrupted(job, trainer, signal, output);
        const compare = () => compareWithBefore(job, trainer, signal, output);
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
  { globalStep, best, times: { seconds } }: Trainer,
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
      ...comparison,
      seconds,
    },
    [`${label}     ${last}`, ...(line ? [line] : []), `Time     ${describeTimes(seconds)}`].join('\n'),
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

/** Mean rewards of the held-out prompts, and the file with the images. Empty if there are no such prompts. */
type Comparison = Partial<Record<'reward_before' | 'reward_after', number>> & { images?: string };

/**
 * Runs `compare` if there are held-out prompts, with the averaged weights if these are exported. An abort during the
 * evaluation does not throw here: `interruptionOf` throws it on all processes.
 */
async function compareWithBefore(
  job: TrainingJob,
  trainer: Trainer,
  signal: AbortSignal,
  output: Output,
): Promise<Comparison> {
  const { config, evalPrompts } = job;
  if (!evalPrompts) return {};
  const compareWeights = () =>
    compare({ ...job, evalPrompts }, trainer.pipeline, signal, output).catch((error: unknown): Comparison => {
      if (signal.aborted && error === signal.reason) return {};
      throw error;
    });
  return config.ema_export ? trainer.averaged(compareWeights) : compareWeights();
}

/**
 * Evaluates the held-out prompts without the adapter and with it, from the same noise, and writes the images of each to
 * a row of before-after.png.
 */
async function compare(
  job: TrainingJob & { evalPrompts: PromptList },
  trained: StableDiffusionPipeline,
  signal: AbortSignal,
  output: Output,
): Promise<Comparison> {
  const { config, evalReward = job.reward, evalPrompts, before = job.pipeline } = job;
  const { prompts } = evalPrompts;
  const progress = output.progress('Evaluating', 2 * prompts.length);
  let done = 0;
  const evaluate = evaluator(trained.engine, { config, ...evalPrompts, rewardFunction: evalReward });
  const rows = [new ShownImages(), new ShownImages()] as const;
  const judge = (pipeline: StableDiffusionPipeline, row: ShownImages) =>
    evaluate(pipeline, {
      signal,
      onImages: (drawn: EvaluatedImages) => {
        row.add(drawn);
        progress.update(++done);
      },
    });
  try {
    const first = await judge(before.with({ scheduler: trained.scheduler }), rows[0]);
    const after = await judge(trained, rows[1]);
    progress.stop();
    const sheet = `${config.output_dir}/before-after.png`;
    await rows[0].show((upper) => rows[1].show((lower) => writeComparison(sheet, upper, lower)));
    output.result(
      { event: 'judged', prompts, before: first.rewards, after: after.rewards },
      [
        `Reward   ${first.mean.toFixed(3)} before training, ${after.mean.toFixed(3)} after, ` +
          `on held-out prompts: ${abbreviated(prompts)}`,
        `Images   ${sheet}: upper row before training, lower row after`,
      ].join('\n'),
    );
    return { reward_before: first.mean, reward_after: after.mean, images: sheet };
  } finally {
    progress.stop();
    rows.forEach((row) => row.dispose());
  }
}

/** The first prompts, and how many more there are. */
function abbreviated(prompts: readonly string[]): string {
  const more = prompts.length - 16;
  return [...prompts.slice(0, 16), ...(more > 0 ? [`and ${more} more`] : [])].join(', ');
}

async function writeComparison(path: string, upper: EvaluationSamples, lower: EvaluationSamples): Promise<void> {
  const images = concat([upper.images, lower.images]);
  await writeSheet(path, images, {
    columns: upper.prompts.length,
    parameters: `${upper.prompts.join(', ')}\nupper row before training, lower row after`,
  });
  images.dispose();
}
