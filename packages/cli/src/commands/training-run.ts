import { concat, dispose, type Tensor4D } from '@tensorflow/tfjs-core';
import { trainable } from '@alignprop/autograd-ext';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import type { RewardFunction } from '@alignprop/rewards';
import {
  AlignPropTrainer,
  evaluationRecord,
  evaluator,
  logSamples,
  metricsRecord,
  trainableUNet,
  type AlignPropConfig,
  type AlignPropConfigInput,
  type ImageSamples,
  type StepMetrics,
} from '@alignprop/trainer';
import { exchange, shared, singleProcess, type Collective } from '@alignprop/trainer/distributed';
import { Interrupted } from '../terminal/errors.js';
import { writeSheet } from '../images/image-files.js';
import { interruptible } from '../terminal/interrupt.js';
import type { Output } from '../terminal/output.js';
import type { Progress } from '../terminal/progress.js';

export interface TrainingJob {
  config: AlignPropConfig;
  pipeline: StableDiffusionPipeline;
  reward: RewardFunction;
  /** What held-out prompts are judged by; `reward` by default. */
  evalReward?: RewardFunction;
  prompts: readonly string[];
  /** Judged by the model as it was and as it became, and every `eval_freq` epochs; none by default. */
  evalPrompts?: readonly string[];
  /** The processes that train together; this one alone by default. */
  collective?: Collective;
  /** The command that goes on from a checkpoint. */
  resumeCommand: (checkpoint: string) => string;
}

/**
 * Trains, shows how it goes, and compares the adapter with the model it started from on the prompts to judge by.
 * @throws Interrupted after Ctrl-C or SIGTERM, once a checkpoint is written
 */
export async function trainingRun(job: TrainingJob, output: Output): Promise<void> {
  const { config, prompts, reward, evalReward = reward, evalPrompts = [], collective = singleProcess } = job;
  const pipeline = config.use_lora ? job.pipeline : await trainableUNet(job.pipeline);
  const trainer = new AlignPropTrainer<undefined>({
    config: config as AlignPropConfigInput,
    pipeline,
    promptFunction: (generator) => prompts[generator.randint(0, prompts.length, 1)[0]!]!,
    rewardFunction: reward,
    imageSamplesHook: async (samples, step, tracker) => {
      await writeSamples(`${config.output_dir}/samples/step_${`${step}`.padStart(6, '0')}.png`, samples);
      await logSamples(samples, step, tracker);
    },
    ...(evalPrompts.length > 0 && { evaluation: { prompts: evalPrompts, rewardFunction: evalReward } }),
    trackers: [
      {
        log: () => {},
        logEvaluation: (metrics) => output.result({ event: 'evaluation', ...evaluationRecord(metrics) }),
        close: () => {},
      },
    ],
    logger: output,
    collective,
  });
  const stopping = () => output.info('Stopping: a checkpoint is written first. Once more to stop at once.');
  try {
    await interruptible(async (signal) => {
      await train(trainer, signal, output);
      const interruption = await interruptionOf(collective, 'the end of training', signal);
      if (interruption) {
        output.warn(
          `stopped after step ${trainer.globalStep} of ${config.num_epochs}. Go on with:\n  ${job.resumeCommand(await trainer.saveCheckpoint())}`,
        );
        throw interruption;
      }
      const comparing = () => compare(job, trainer.pipeline, signal, output).catch(unless(signal));
      const compared =
        evalPrompts.length === 0 || collective.rank > 0
          ? {}
          : await (config.ema_export ? trainer.averaged(comparing) : comparing());
      const late = await interruptionOf(collective, 'the end of judging', signal);
      if (late) throw late;
      const [name, path] = config.use_lora ? ['lora', 'pytorch_lora_weights.safetensors'] : ['unet', 'unet'];
      const trained = `${config.output_dir}/${path}`;
      output.result(
        { event: 'done', output_dir: config.output_dir, global_step: trainer.globalStep, [name]: trained, ...compared },
        `${config.use_lora ? 'LoRA' : 'UNet'}     ${trained}`,
      );
    }, stopping);
  } finally {
    trainer.dispose();
    if (!config.use_lora) dispose(trainable(pipeline.unet.params));
  }
}

/** What all processes throw if one of them was interrupted. */
async function interruptionOf(
  collective: Collective,
  at: string,
  signal: AbortSignal,
): Promise<Interrupted | undefined> {
  const names = await exchange(collective, at, signal.aborted ? (signal.reason as Interrupted).signal : null);
  const name = names.find((one) => one !== null);
  return name && shared(new Interrupted(name));
}

/** Lets errors pass, but for the signal's: all processes have to hear of it. */
const unless =
  (signal: AbortSignal) =>
  (error: unknown): undefined => {
    if (!signal.aborted || error !== signal.reason) throw error;
  };

async function train(trainer: AlignPropTrainer, signal: AbortSignal, output: Output): Promise<void> {
  const started = performance.now();
  let progress: Progress | undefined; // a resumed run knows where it is after its first step
  try {
    for await (const metrics of trainer.train({ signal })) {
      progress ??= output.progress('Epoch', trainer.config.num_epochs, { from: metrics.globalStep, started });
      progress.update(metrics.globalStep + 1, describe(metrics));
      output.result({ event: 'step', ...metricsRecord(metrics) });
    }
  } finally {
    progress?.stop();
  }
}

const describe = ({ rewardMean, loss, gradNorm, seconds }: StepMetrics): string =>
  `reward ${rewardMean.toFixed(3)}, loss ${loss.toFixed(3)}, grad ${gradNorm.toFixed(3)}, ${seconds.toFixed(1)} s/step`;

async function writeSamples(path: string, { images, prompts, rewards }: ImageSamples<undefined>): Promise<void> {
  const judged = await rewards.data();
  await writeSheet(path, images, {
    parameters: prompts.map((prompt, i) => `${prompt} (reward ${judged[i]!.toFixed(4)})`).join('\n'),
  });
}

/** Draws the same prompts from the same noise without the adapter and with it, one row each. */
async function compare(
  job: TrainingJob,
  trained: StableDiffusionPipeline,
  signal: AbortSignal,
  output: Output,
): Promise<Record<string, unknown>> {
  const { config, evalReward = job.reward, evalPrompts: prompts = [] } = job;
  const progress = output.progress('Judging', 2 * prompts.length);
  let drawn = 0;
  const evaluate = evaluator(trained.engine, { config, prompts, rewardFunction: evalReward });
  const options = { signal, onImage: () => progress.update(++drawn) };
  const images: Tensor4D[] = [];
  try {
    const before = await evaluate(job.pipeline.with({ scheduler: trained.scheduler }), options);
    images.push(before.images);
    const after = await evaluate(trained, options);
    images.push(after.images);
    progress.stop();
    const sheet = `${config.output_dir}/before-after.png`;
    await writeComparison(sheet, images, prompts);
    output.result(
      { event: 'judged', prompts, before: before.rewards, after: after.rewards },
      `Reward   ${before.mean.toFixed(3)} before, ${after.mean.toFixed(3)} after, on prompts that were not trained on: ${prompts.join(', ')}\nImages   ${sheet}, the row above before, the row below after`,
    );
    return { reward_before: before.mean, reward_after: after.mean, images: sheet };
  } finally {
    progress.stop();
    dispose(images);
  }
}

async function writeComparison(path: string, rows: readonly Tensor4D[], prompts: readonly string[]): Promise<void> {
  const images = concat([...rows]);
  await writeSheet(path, images, {
    columns: rows[0]!.shape[0],
    parameters: `${prompts.join(', ')}\nabove before, below after`,
  });
  images.dispose();
}
