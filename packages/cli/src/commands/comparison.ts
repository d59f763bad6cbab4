import { concat, slice, type Tensor4D } from '@tensorflow/tfjs-core';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import { evaluator, ShownImages, type EvaluatedImages, type EvaluationSamples } from '@alignprop/trainer';
import { writeSheet } from '../images/image-files.js';
import { writeScoredSheet } from '../images/sheet.js';
import { comparisonConfig } from '../options/guard.js';
import type { PromptList } from '../options/prompt-columns.js';
import type { Output } from '../terminal/output.js';
import type { Trainer } from './create-trainer.js';
import type { TrainingJob } from './training-run.js';

/** The result for held-out prompts; empty if there are none. */
export interface Comparison {
  readonly reward_before?: number;
  readonly reward_after?: number;
  /** The file with the images of both. */
  readonly images?: string;
  /** The files of single images after training, relative to the folder, in the order of the prompts. */
  readonly pictures?: readonly string[];
}

/**
 * Runs `compare` if there are held-out prompts, with the averaged weights if these are exported. An abort during the
 * evaluation does not throw here: `interruptionOf` throws it on all processes.
 */
export async function compareWithBefore(
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
  const { evalReward = job.reward, evalPrompts, before = job.pipeline } = job;
  const config = job.guardPrompts ? comparisonConfig(job.config) : job.config;
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
    let pictures: readonly string[] = [];
    await rows[0].show((upper) =>
      rows[1].show(async (lower) => {
        await writeComparison(sheet, upper, lower);
        pictures = await writePictures(config.output_dir, lower);
      }),
    );
    output.result(
      { event: 'judged', prompts, before: first.rewards, after: after.rewards },
      [
        `Reward   ${first.mean.toFixed(3)} before training, ${after.mean.toFixed(3)} after, ` +
          `on held-out prompts: ${abbreviated(prompts)}`,
        `Images   ${sheet}: upper row before training, lower row after`,
      ].join('\n'),
    );
    return { reward_before: first.mean, reward_after: after.mean, images: sheet, pictures };
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
  const rewards = [...(await upper.rewards.data()), ...(await lower.rewards.data())];
  const both = { images, prompts: [...upper.prompts, ...lower.prompts], rewards };
  const remark = 'upper row before training, lower row after';
  await writeScoredSheet(path, both, { columns: upper.prompts.length, remark });
  images.dispose();
}

/** The most single pictures of a run: those that a model card shows beside each other. */
const MAX_PICTURES = 6;

/** Writes the first images one by one. @returns their paths relative to the folder */
async function writePictures(folder: string, { images, prompts }: EvaluationSamples): Promise<readonly string[]> {
  const paths = prompts.slice(0, MAX_PICTURES).map((_, i) => `pictures/${i + 1}.png`);
  const [, ...size] = images.shape;
  for (const [i, path] of paths.entries()) {
    const image = slice(images, [i, 0, 0, 0], [1, ...size]) as Tensor4D;
    await writeSheet(`${folder}/${path}`, image, { parameters: prompts[i]! });
    image.dispose();
  }
  return paths;
}
