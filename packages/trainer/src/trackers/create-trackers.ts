import type { AlignPropConfig } from '../config/config.js';
import { jsonlTracker } from './jsonl.js';
import { tensorboardTracker } from './tensorboard.js';
import { trackioTracker } from './trackio.js';
import type { Tracker } from './tracker.js';

type TrackerConfig = Pick<
  AlignPropConfig,
  'log_with' | 'tracker_kwargs' | 'tracker_project_name' | 'logdir' | 'run_name' | 'exp_name'
>;

export interface TrackerOptions {
  /** The step that a run goes on from. */
  readonly fromStep: number;
  /** The step whose evaluation is the first that it will make, or would. */
  readonly fromEvaluation?: number;
  readonly warn: (message: string) => void;
}

/**
 * metrics.jsonl, where there is a folder, and what `log_with` names.
 * @throws if files cannot be written, or there is no server
 */
export async function createTrackers(
  config: TrackerConfig,
  folder: { readonly path: string; readonly metrics: string } | undefined,
  { fromStep, fromEvaluation, warn }: TrackerOptions,
): Promise<readonly Tracker[]> {
  const { log_with, tracker_kwargs: kwargs, tracker_project_name: project, logdir, run_name, exp_name } = config;
  const trackers = folder ? [await jsonlTracker(folder.metrics, fromStep, fromEvaluation)] : [];
  if (log_with === 'tensorboard') {
    // accelerate's layout: a folder of the project in the run's.
    const parent = kwargs.tensorboard?.logging_dir ?? folder?.path ?? logdir;
    trackers.push(await tensorboardTracker(`${parent}/${project}`, { config, fromStep }));
  }
  if (log_with === 'trackio') {
    const run = kwargs.trackio?.run ?? (run_name || folder?.path.split(/[\\/]/).findLast(Boolean) || exp_name);
    trackers.push(
      await trackioTracker({
        url: kwargs.trackio?.url,
        project,
        run,
        config,
        onFailure: ({ message }) => warn(`${message}. It is sent again with the next step.`),
      }),
    );
  }
  return trackers;
}
