import { singleProcess, type Collective } from '../collective/collective.js';
import { exchange, isShared, StoppedElsewhere } from '../collective/exchange.js';
import { together } from '../collective/together.js';
import { silent, type Logger } from '../logger.js';
import { createTrackers } from '../trackers/create-trackers.js';
import { FailureReports } from '../trackers/failure-reports.js';
import { PhaseTimes } from '../trackers/phase-times.js';
import { allTrackers, type Tracker } from '../trackers/tracker.js';
import {
  claimRunFolder,
  prepareRunFolder,
  runFolder,
  type RunFolder,
  type RunStart,
  type RunFolderConfig,
} from './folder.js';
import type { RunLock } from './lock.js';
import type { RunManifest } from './manifest.js';
import type { ResumableState } from './resumable-state.js';

export interface RunOptions {
  config: Parameters<typeof createTrackers>[0] & RunFolderConfig & { readonly resume_from?: string };
  /** Trackers of the caller's, besides those that `config` names. They are closed at the end of every `execute`. */
  trackers?: readonly Tracker[];
  logger?: Logger;
  /** The processes that train together; this one alone by default. */
  collective?: Collective;
  /** The state that checkpoints hold; without it the run writes and reads none. */
  state?: ResumableState;
  manifest: RunManifest;
  /** Gets the durations of writing checkpoints and the trained weights. */
  times?: PhaseTimes;
  /** Contents of files, by name, that are written into the folder with the manifest. */
  files?: Readonly<Record<string, Uint8Array>>;
  /** Writes the trained weights into a folder, at the end of a run. */
  exportWeights(folder: string): Promise<unknown>;
  /** Freed with the run. */
  owned: readonly { dispose(): void }[];
}

/**
 * A training run around its loop: locks the folder, resumes, creates trackers, writes checkpoints, saves complete steps
 * after an error, and ends with a checkpoint and the trained weights. Rank 0 alone has the folder and the trackers.
 */
export class Run {
  readonly folder: RunFolder | undefined;
  readonly #options: RunOptions;
  readonly #logger: Logger;
  readonly #collective: Collective;
  /** The lock on the folder while `execute` runs, on rank 0. */
  #lock: RunLock | undefined;
  readonly #times: PhaseTimes;
  #globalStep = 0;
  /** The step whose checkpoint is in the run's own folder. */
  #savedStep = -1;
  #isStarted = false;
  /** False while a step or a checkpoint write is in progress. */
  #isConsistent = true;

  constructor(options: RunOptions) {
    this.#options = options;
    this.#logger = options.logger ?? silent;
    this.#collective = options.collective ?? singleProcess;
    this.#times = options.times ?? new PhaseTimes();
    this.folder = runFolder(options.config);
  }

  /** Optimizer steps taken, those of resumed runs included. */
  get globalStep(): number {
    return this.#globalStep;
  }

  /**
   * Runs a training loop and yields what it yields. Until it ends no other run can have the folder. A consumer that
   * leaves the loop, and an aborted `signal`, end the run in the same way as the end of the loop.
   * @throws before the loop starts, if the folder is another run's or cannot be written, or the checkpoint to resume
   *   from cannot be read; any error of the loop but the signal's reason, on the other processes by `Collective.abort`
   */
  async *execute<T>(
    loop: (tracker: Tracker) => AsyncGenerator<T, void, void>,
    signal?: AbortSignal,
  ): AsyncGenerator<T, void, void> {
    try {
      await together(this.#collective, 'the folder of the run', async () => {
        if (this.folder && this.#collective.rank === 0) this.#lock = await claimRunFolder(this.folder, this.#logger);
      });
      try {
        yield* this.#start(loop, signal);
      } finally {
        await this.#lock?.release();
        this.#lock = undefined; // so that a checkpoint after the end does not check it
      }
    } catch (error) {
      if (!isShared(error)) await this.#collective.abort(error);
      throw error;
    }
  }

  /** The folder that files are published from. @throws if the run writes none */
  publishableFolder(owner: string): string {
    if (this.folder) return this.folder.path;
    throw new Error(`${owner}.pushToHub: output_dir got nothing, expected a folder. Set output_dir.`);
  }

  /** Calls a function that moves the weights, and counts the step. `complete` ends the step. */
  update(move: () => void): void {
    this.#isConsistent = false;
    move();
    this.#globalStep++;
  }

  /** Marks the step complete: the trackers have its metrics, so a checkpoint of it can be resumed from. */
  complete(): void {
    this.#isConsistent = true;
  }

  /**
   * Writes `checkpoints/checkpoint_<globalStep>/` unless this run wrote it before, and deletes the oldest beyond the
   * limit. Needs a folder and a state. Of several processes all have to call it.
   * @returns its path
   */
  async saveCheckpoint(): Promise<string> {
    const { checkpoints } = this.folder!;
    const state = this.#options.state!;
    const path = `${checkpoints}/checkpoint_${this.#globalStep}`;
    await this.#lock?.check();
    if (this.#savedStep !== this.#globalStep) {
      const generators = await state.gatherGenerators(this.#globalStep);
      const wasConsistent = this.#isConsistent;
      this.#isConsistent = false; // until it is written
      if (this.#collective.rank === 0) await this.#writeCheckpoint(state, checkpoints, generators);
      this.#savedStep = this.#globalStep;
      this.#isConsistent = wasConsistent;
    }
    if (this.#collective.rank === 0) await state.prune(checkpoints);
    return path;
  }

  /** Writes a checkpoint, and tells its duration if that is more than a second. */
  async #writeCheckpoint(
    state: ResumableState,
    folder: string,
    generators: Awaited<ReturnType<ResumableState['gatherGenerators']>>,
  ): Promise<void> {
    const started = performance.now();
    const path = await this.#times.during('saving', () => state.write(folder, this.#globalStep, generators));
    const seconds = (performance.now() - started) / 1000;
    if (seconds > 1) this.#logger.info(`Wrote ${path} in ${seconds.toFixed(1)} s`);
  }

  dispose(): void {
    for (const part of this.#options.owned) part.dispose();
  }

  async *#start<T>(
    loop: (tracker: Tracker) => AsyncGenerator<T, void, void>,
    signal?: AbortSignal,
  ): AsyncGenerator<T, void, void> {
    const tracker = await this.#prepare();
    let hasFailed = false;
    try {
      yield* loop(tracker);
    } catch (error) {
      hasFailed = !(error instanceof StoppedElsewhere) && (!signal?.aborted || error !== signal.reason);
      if (hasFailed && (this.#collective.size === 1 || isShared(error))) await this.#saveCompleteSteps();
      if (hasFailed) throw error;
    } finally {
      if (!hasFailed) await this.#finish();
      await tracker.close();
    }
  }

  /** Resumes, the first time, and creates the run's folder and trackers. */
  async #prepare(): Promise<Tracker> {
    const resumed = await this.#resume();
    const failures = new FailureReports((message) => this.#logger.warn(message));
    const given = this.#options.trackers ?? [];
    const callersTrackers = allTrackers(given.map((tracker, i) => failures.guard(`trackers[${i}]`, tracker)));
    if (this.#collective.rank > 0) return { log: () => {}, close: () => callersTrackers.close() };
    const { config, state, manifest, files = {} } = this.#options;
    if (this.folder) {
      await state?.checkSpace(this.folder.checkpoints);
      await prepareRunFolder(this.folder, { config, manifest, ...resumed }, files, this.#logger);
    }
    const isEvaluated = state?.isEvaluated(this.#globalStep) ?? this.#globalStep > 0;
    const trackers = await createTrackers(config, this.folder, {
      fromStep: this.#globalStep,
      fromEvaluation: this.#globalStep + (isEvaluated ? 1 : 0),
      warn: (message) => this.#logger.warn(message),
      info: (message) => this.#logger.info(message),
    });
    const guard: Tracker = { log: () => this.#lock?.check(), close: () => {} };
    return allTrackers([guard, ...trackers, callersTrackers]);
  }

  /** Restores the checkpoint that `resume_from` means. @returns what the run continues in its folder */
  async #resume(): Promise<Pick<RunStart, 'resumedStep' | 'isBegunAnew' | 'damaged'>> {
    if (this.#isStarted) return { resumedStep: this.#globalStep };
    const { state, config } = this.#options;
    const checkpoint = await together(this.#collective, 'the checkpoint', async () => state?.resume(this.folder));
    if (checkpoint) {
      this.#globalStep = checkpoint.globalStep;
      if (checkpoint.isOwn) this.#savedStep = checkpoint.globalStep;
    }
    await state?.joinRanks(this.#globalStep);
    this.#isStarted = true;
    if (!checkpoint) return { isBegunAnew: Boolean(config.resume_from) };
    return checkpoint.isOwn ? { resumedStep: checkpoint.globalStep, damaged: checkpoint.damaged } : {};
  }

  /** After an error: writes a checkpoint of what was trained since the last, unless the error came within a step. */
  async #saveCompleteSteps(): Promise<void> {
    const { state } = this.#options;
    if (!this.folder || !state || !this.#isConsistent || this.#globalStep === 0) return;
    await this.saveCheckpoint().catch((error: unknown) => this.#logger.warn((error as Error).message));
  }

  async #finish(): Promise<void> {
    const { state, exportWeights } = this.#options;
    await exchange(this.#collective, `the end after ${this.#globalStep} steps`, null);
    if (!this.folder) return;
    if (state) await this.saveCheckpoint();
    await this.#lock?.check();
    const { path } = this.folder;
    if (this.#collective.rank === 0) await this.#times.during('saving', () => exportWeights(path));
  }
}
