import {
  AlignPropTrainer,
  DDPOTrainer,
  logEvaluationSamples,
  logSamples,
  type AlignPropConfigInput,
  type AlignPropTrainerOptions,
  type DDPOConfigInput,
  type DDPOTrainerOptions,
  type EvaluationSamples,
  evaluationRecord,
} from '@alignprop/trainer';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import type { RewardFunction } from '@alignprop/rewards';
import { writeScoredSheet } from '../images/sheet.js';
import type { PromptMetadata } from '../options/prompt-columns.js';
import { promptDrawer } from '../options/prompt-list.js';
import type { Output } from '../terminal/output.js';
import type { TrainingJob } from './training-run.js';

type Metadata = PromptMetadata | undefined;

export type Trainer = AlignPropTrainer<Metadata> | DDPOTrainer<Metadata>;

/** The inputs of both trainers. */
type SharedOptions = Omit<
  AlignPropTrainerOptions<Metadata>,
  'config' | 'rewardFunction' | 'rewardDecoder' | 'dataset' | 'plan'
> &
  Omit<DDPOTrainerOptions<Metadata>, 'config' | 'rewardFunction'>;

/** A job with its data as latents. */
type TrainerJob = TrainingJob & Pick<AlignPropTrainerOptions<Metadata>, 'dataset'>;

/** Creates the trainer of a job, which writes sheets of its images into the folder of the run. */
export function createTrainer(job: TrainerJob, pipeline: StableDiffusionPipeline, output: Output): Trainer {
  const { algorithm, config, reward, rewardDecoder, dataset } = job;
  const options = sharedOptions(job, pipeline, output);
  if (algorithm === 'ddpo')
    return new DDPOTrainer<Metadata>({ ...options, config: config as DDPOConfigInput, rewardFunction: reward });
  // Its options were checked: they name a reward with a gradient, or the first step refuses it.
  const rewardFunction = reward as RewardFunction;
  return new AlignPropTrainer<Metadata>({
    ...options,
    config: config as AlignPropConfigInput,
    rewardFunction,
    rewardDecoder,
    dataset,
  });
}

function sharedOptions(job: TrainingJob, pipeline: StableDiffusionPipeline, output: Output): SharedOptions {
  const { config, prompts, reward, evalReward = reward, manifest, files, force, collective } = job;
  const held = job.guardPrompts ?? job.evalPrompts;
  return {
    pipeline,
    promptFunction: promptDrawer(prompts),
    imageSamplesHook: async (samples, step, tracker) => {
      await writeSamples(`${config.output_dir}/samples/${stepName(step)}.png`, samples);
      await logSamples(samples, step, tracker);
    },
    evaluationSamplesHook: async (samples, step, tracker) => {
      await writeSamples(`${config.output_dir}/evaluations/${stepName(step)}.png`, samples);
      await logEvaluationSamples(samples, step, tracker);
    },
    ...(held && { evaluation: { ...held, rewardFunction: evalReward } }),
    trackers: [
      {
        log: () => {},
        logEvaluation: (metrics) => output.result({ event: 'evaluation', ...evaluationRecord(metrics) }),
        close: () => {},
      },
    ],
    logger: output,
    ...{ collective, manifest, files, force },
  };
}

const stepName = (step: number): string => `step_${`${step}`.padStart(6, '0')}`;

async function writeSamples(path: string, { images, prompts, rewards }: EvaluationSamples): Promise<void> {
  await writeScoredSheet(path, { images, prompts, rewards: await rewards.data() });
}
