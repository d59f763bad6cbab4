import type { z } from 'zod';
import type { Tracker } from './tracker.js';

/** A tracker that `log_with` can name. */
export interface TrackerKind {
  /** The destination of metrics, for the help of `log_with`. */
  readonly description: string;
  /** Its entry of `tracker_kwargs`; without a schema it takes none. */
  readonly options?: z.ZodObject;
  /** npm packages that `create` imports; an error names them where one is missing. */
  readonly packages: readonly string[];
  /**
   * Opens the files or the connection. Resolves to undefined where the run has no place for them.
   * @param options its entry of `tracker_kwargs`
   * @throws if the files cannot be written or the server does not answer
   */
  create(run: TrackedRun, options: unknown): Promise<Tracker | undefined>;
}

/** The run that a tracker reports. */
export interface TrackedRun {
  /** The run's folder and its metrics.jsonl; undefined for a run that writes no files. */
  readonly folder?: { readonly path: string; readonly metrics: string };
  /** The complete configuration with secrets masked, which trackers log as hyper-parameters. */
  readonly config: Readonly<Record<string, unknown>> & {
    readonly exp_name: string;
    readonly logdir: string;
    readonly project_kwargs: { readonly logging_dir?: string };
    readonly run_name: string;
    readonly tracker_kwargs: Readonly<Record<string, unknown>>;
    readonly tracker_project_name: string;
  };
  /** Optimizer steps taken before this start of the run. What an earlier start logged of later steps is replaced. */
  readonly fromStep: number;
  /** Likewise for evaluations: the first step whose evaluation this start of the run makes. */
  readonly fromEvaluation?: number;
  /** Called with a message when something could not be logged; training continues. */
  readonly warn: (message: string) => void;
  /** Called with a message for the user, such as where to look at the run. */
  readonly info: (message: string) => void;
}
