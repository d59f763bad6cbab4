import { z } from 'zod';
import { installCommand } from '@alignprop/autograd-ext';
import { maskSecrets } from '@alignprop/autograd-ext/outside';
import { FailureReports } from './failure-reports.js';
import { jsonl } from './jsonl.js';
import { tensorboard } from './tensorboard.js';
import type { TrackedRun, TrackerKind } from './tracker-kind.js';
import type { Tracker } from './tracker.js';
import { trackio } from './trackio.js';
import { wandb } from './wandb.js';

/** The trackers that `log_with` can name. A new one is a file beside this one and a line here. */
export const trackers = { jsonl, tensorboard, trackio, wandb } satisfies Readonly<Record<string, TrackerKind>>;

export type TrackerName = keyof typeof trackers;

/** The values of `log_with`. */
export const trackerNames = Object.keys(trackers) as TrackerName[];

/** The trackers' own descriptions, for the help of `log_with`. */
export const trackerHelp = describeEach(({ description }) => [description]);

/** The options of all trackers in words, for the help of `tracker_kwargs`. */
export const trackerOptionsHelp = describeEach(({ options }) =>
  Object.entries(options?.shape ?? {}).map(([key, field]) => `${key}, ${(field as z.ZodType).description}`),
);

function describeEach(describe: (kind: TrackerKind) => readonly string[]): string {
  const kinds: readonly [string, TrackerKind][] = Object.entries(trackers);
  return kinds.flatMap(([name, kind]) => describe(kind).map((text) => `"${name}": ${text}`)).join('; ');
}

type Kinds = typeof trackers;
type OptionSchemas = {
  [K in TrackerName as Kinds[K] extends { options: z.ZodType } ? K : never]: Kinds[K] extends { options: infer S }
    ? z.ZodOptional<S & z.ZodType>
    : never;
};

/** The schema of `tracker_kwargs`: options by tracker. */
export const trackerOptions = z.strictObject(
  Object.fromEntries(
    (Object.entries(trackers) as [string, TrackerKind][]).flatMap(([name, { options }]) =>
      options ? [[name, options.optional()]] : [],
    ),
  ) as OptionSchemas,
);

/**
 * Creates the tracker of metrics.jsonl, where the run has a folder, and the one that `log_with` names.
 * @throws if a package that it needs is missing, files cannot be written, or a server does not answer
 */
export async function createTrackers(
  config: TrackedRun['config'] & { readonly log_with: string | null },
  folder: TrackedRun['folder'],
  start: Pick<TrackedRun, 'fromStep' | 'fromEvaluation' | 'warn' | 'info'>,
): Promise<readonly Tracker[]> {
  const created: Tracker[] = [];
  const failures = new FailureReports(start.warn);
  for (const name of new Set(['jsonl', config.log_with ?? 'jsonl'])) {
    const tracker = await createTracker(name, trackers[name as TrackerName], { config, folder, ...start });
    // Without a line of metrics.jsonl a step is not complete. Other trackers must not end a run.
    if (tracker) created.push(name === 'jsonl' ? tracker : failures.guard(`log_with '${name}'`, tracker));
  }
  return created;
}

/** Creates one tracker. @throws what its `create` throws; where a package is missing, an error that names it */
export async function createTracker(name: string, kind: TrackerKind, run: TrackedRun): Promise<Tracker | undefined> {
  try {
    return await kind.create({ ...run, config: maskSecrets(run.config) }, run.config.tracker_kwargs[name]);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw cause;
    const packages = kind.packages.join(' ');
    throw new Error(
      `log_with: '${name}' needs ${packages}, which cannot be loaded: ${(cause as Error).message}. ` +
        `Install it: ${await installCommand(...kind.packages)}`,
      { cause },
    );
  }
}
