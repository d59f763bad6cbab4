import { disposeTensors } from '@alignprop/autograd-ext';
import { describeSpace, freeSpace } from '@alignprop/autograd-ext/weights';
import type { RewardMemory } from '@alignprop/rewards';
import type { Collective } from '../collective/collective.js';
import { exchange } from '../collective/exchange.js';
import type { AlignPropConfig } from '../config/config.js';
import type { HeldOut } from '../evaluation/held-out.js';
import type { Logger } from '../logger.js';
import type { TrainedWeights } from '../model/trained-weights.js';
import type { WeightsAverage } from '../model/weights-average.js';
import type { Optimizer } from '../optim/optimizer.js';
import { restoreRank, saveGenerators, type Generators, type GeneratorStates } from '../step/generators.js';
import { pruneCheckpoints } from './checkpoint-folder.js';
import { checkpointToResume } from './checkpoint-to-resume.js';
import {
  checkpointSize,
  readCheckpoint,
  readCheckpointManifest,
  writeCheckpoint,
  type CheckpointContents,
} from './checkpoints.js';
import type { RunFolder } from './folder.js';
import { describeRanks, joinRanks, type BatchOptions } from './join-ranks.js';
import type { RunManifest } from './manifest.js';
import { checkResume } from './resume-rules.js';

/** State that an algorithm saves besides weights, optimizer and generators. */
export interface Progress {
  /** Epochs that are complete. */
  readonly epoch: number;
  /** Returns a JSON value for checkpoints. */
  state(): unknown;
  restore(state: unknown): void;
}

export interface ResumableStateParts {
  readonly config: Pick<AlignPropConfig, 'resume_from' | 'num_epochs' | 'project_kwargs' | 'num_checkpoint_limit'> &
    BatchOptions;
  /** The progress of an algorithm whose epochs are not its optimizer steps. */
  readonly progress?: Progress;
  readonly manifest: RunManifest;
  /** Names of differences from the checkpoint that are accepted; see `checkResume`. */
  readonly force: readonly string[];
  readonly weights: TrainedWeights;
  readonly optimizer: Optimizer;
  readonly generators: Generators;
  /** The moving average of the weights. */
  readonly average: WeightsAverage | undefined;
  /** For a reward that learns from its scores. */
  readonly rewardMemory: RewardMemory | undefined;
  /** The evaluations of held-out prompts. */
  readonly heldOut:
    Pick<HeldOut<never>, 'isDue' | 'state' | 'restore' | 'describeExhaustion' | 'hasCollapsed'> | undefined;
  readonly collective: Collective;
  readonly logger: Logger;
}

/** The checkpoint that a run went on from. */
export interface ResumedCheckpoint {
  readonly globalStep: number;
  /** Whether it is the one that the run itself would write after so many steps. */
  readonly isOwn: boolean;
  /** Newer checkpoints of the run, which are damaged. */
  readonly damaged: readonly string[];
}

/** Everything that a run saves in checkpoints and restores from them. */
export class ResumableState {
  readonly #parts: ResumableStateParts;
  /** The folder of the checkpoint that was restored. */
  #checkpoint: string | undefined;

  constructor(parts: ResumableStateParts) {
    this.#parts = parts;
  }

  /** Whether the evaluation after so many steps has been done. */
  isEvaluated(globalStep: number): boolean {
    const { heldOut, progress } = this.#parts;
    return heldOut ? !heldOut.isDue({ step: globalStep, epoch: progress?.epoch ?? globalStep }) : globalStep > 0;
  }

  /** The generators of all processes, in the order of ranks. All of them have to call it. */
  gatherGenerators(globalStep: number): Promise<readonly GeneratorStates[]> {
    const { collective, generators } = this.#parts;
    return exchange(collective, `checkpoint ${globalStep}`, saveGenerators(generators));
  }

  /** Writes `<folder>/checkpoint_<globalStep>/`. @param ranks the generators of all processes @returns its path */
  async write(
    folder: string,
    globalStep: number,
    [generators, ...otherRanks]: readonly GeneratorStates[],
  ): Promise<string> {
    return writeCheckpoint(folder, this.#contents(globalStep, generators!, otherRanks));
  }

  /** @throws if the disk of a folder has no room for a checkpoint */
  async checkSpace(folder: string): Promise<void> {
    const size = checkpointSize(this.#contents(0, saveGenerators(this.#parts.generators), []));
    if (((await freeSpace(folder)) ?? Infinity) >= size) return;
    throw new Error(
      `output_dir: a checkpoint needs ${await describeSpace(size, folder)}. Make room or choose another output_dir.`,
    );
  }

  #contents(
    globalStep: number,
    generators: GeneratorStates,
    otherRanks: readonly GeneratorStates[],
  ): CheckpointContents {
    const { weights, optimizer, manifest, average, rewardMemory, heldOut, progress } = this.#parts;
    return {
      weights,
      optimizer,
      average: average?.values,
      state: {
        globalStep,
        generators,
        ...(otherRanks.length > 0 && { otherRanks }),
        reward: rewardMemory?.state(),
        evaluation: heldOut?.state(),
        progress: progress?.state(),
        manifest,
      },
    };
  }

  /** Deletes the oldest checkpoints beyond the limit. */
  async prune(folder: string): Promise<void> {
    const { project_kwargs, num_checkpoint_limit } = this.#parts.config;
    const limit = project_kwargs.total_limit ?? num_checkpoint_limit;
    if (limit) await pruneCheckpoints(folder, limit);
  }

  /**
   * Restores the checkpoint that `resume_from` means.
   * @returns its step, whether it is this run's own, and newer ones of this run that are damaged; undefined for a run
   *   that starts anew
   * @throws if the checkpoint cannot be read, is of a run with another model, adapter or reward, or fits other weights
   *   or another optimizer
   */
  async resume(folder: RunFolder | undefined): Promise<ResumedCheckpoint | undefined> {
    const { config, logger, heldOut, progress } = this.#parts;
    if (!config.resume_from) return undefined;
    const found = await checkpointToResume(config.resume_from, folder, logger);
    if (!found) return undefined;
    const { path, ownStep, damaged } = found;
    const globalStep = await this.#restore(path);
    this.#checkpoint = path;
    logger.info(`Resumed from ${path} after ${globalStep} steps.`);
    const done = progress?.epoch ?? globalStep;
    if (done >= config.num_epochs) {
      logger.warn(
        `Nothing to train: the checkpoint has ${done} ${progress ? 'epochs' : 'steps'}, ` +
          `num_epochs is ${config.num_epochs}. ` +
          'Raise num_epochs (--num-epochs) to train on.',
      );
    }
    const exhaustion = heldOut?.describeExhaustion();
    if (exhaustion)
      logger.warn(
        `Nothing to train: the run ${exhaustion} ` +
          (heldOut!.hasCollapsed
            ? "Set on_collapse to 'warn' (--on-collapse warn) to train on."
            : 'Raise early_stopping_patience (--early-stopping-patience) to train on.'),
      );
    return { globalStep, isOwn: ownStep === globalStep, damaged };
  }

  /** Lets several processes start from rank 0's weights. @throws as `joinRanks` */
  async joinRanks(globalStep: number): Promise<void> {
    const { collective, config, manifest, weights, average, logger } = this.#parts;
    if (collective.size === 1) return;
    const { variables } = weights;
    await joinRanks(collective, { manifest, globalStep, checkpoint: this.#checkpoint, variables });
    if (globalStep === 0) average?.load();
    logger.info(describeRanks(collective, config));
  }

  async #restore(path: string): Promise<number> {
    const { weights, optimizer, generators, average, heldOut, collective, logger } = this.#parts;
    const { manifest: current, force, progress } = this.#parts;
    const stored = await readCheckpointManifest(path);
    const isComparable = checkResume({ path, stored, current, force }, logger);
    const checkpoint = await readCheckpoint(path, weights, optimizer);
    await optimizer.load(checkpoint.optimizer.steps, checkpoint.optimizer.stored);
    const ranks = [checkpoint.generators, ...(checkpoint.otherRanks ?? [])];
    const difference = restoreRank(generators, ranks, collective);
    if (difference) logger.warn(difference);
    this.#restoreReward(checkpoint.reward);
    for (const [name, variable] of Object.entries(weights.variables)) variable.assign(checkpoint.weights[name]!);
    average?.load(checkpoint.average ?? checkpoint.weights);
    disposeTensors([checkpoint.weights, checkpoint.average]);
    progress?.restore(checkpoint.progress);
    heldOut?.restore(isComparable ? checkpoint.evaluation : undefined);
    return checkpoint.globalStep;
  }

  /** Starts the reward's memory anew, with a warning, where the checkpoint was written with another reward. */
  #restoreReward(state: unknown): void {
    const { rewardMemory, logger } = this.#parts;
    try {
      if (rewardMemory && state === undefined) throw new Error('The checkpoint has none.');
      rewardMemory?.restore(state);
    } catch (error) {
      logger.warn(`What the reward learnt of its scores is not resumed, it starts anew: ${(error as Error).message}`);
    }
  }
}
