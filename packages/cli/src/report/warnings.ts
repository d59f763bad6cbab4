import { excerptList } from '@alignprop/autograd-ext/outside';
import type { RunRecord } from '../run-records.js';
import type { ReportedRun } from './reported-run.js';

/** Sentences about what a reader of the report should know of a run before trusting its curves. */
export const warningsOf = (run: ReportedRun): readonly string[] => [
  ...endWarnings(run),
  ...recordWarnings(run),
  ...optimisationWarnings(run),
  ...pictureWarnings(run),
];

function endWarnings({ state, steps }: ReportedRun): readonly string[] {
  if (steps.length === 0) return ['No step is recorded yet.'];
  if (state === 'locked') return ['The run goes on, or it was killed: its lock is in the folder.'];
  if (state === 'stopped') return ['The run stopped before its end. alignprop resume goes on with it.'];
  return [];
}

function recordWarnings({ steps, evaluations, damaged }: ReportedRun): readonly string[] {
  const names = [...new Set(steps.flatMap((record) => Object.keys(record)))];
  return [
    ...(damaged.length > 0 ? [`Lines that cannot be read are left out: ${excerptList(damaged)}.`] : []),
    ...[steps, evaluations].flatMap((records) => nonFinite(records)),
    ...['skipped', 'failed_images'].filter((name) => names.includes(name)).flatMap((name) => counted(steps, name)),
  ];
}

function nonFinite(records: readonly RunRecord[]): readonly string[] {
  const names = [...new Set(records.flatMap((record) => Object.keys(record)))];
  return names.flatMap((name) => {
    const at = records.filter((record) => Object.hasOwn(record, name) && !Number.isFinite(record[name]));
    const steps = at.map(({ global_step }) => `${global_step}`);
    return at.length > 0 ? [`${name} was not a finite number after steps ${excerptList(steps)}.`] : [];
  });
}

const described = {
  skipped: 'draws were repeated, since a value was not finite.',
  failed_images: 'images were not trained on, since their reward failed.',
} as Readonly<Record<string, string>>;

function counted(steps: readonly RunRecord[], name: string): readonly string[] {
  const count = steps.reduce((sum, record) => sum + (record[name] ?? 0), 0);
  return count > 0 ? [`${count} ${described[name]}`] : [];
}

/** Signs that the reward was maximised for too long. */
function optimisationWarnings({ evaluations }: ReportedRun): readonly string[] {
  const [first, last] = [evaluations[0], evaluations.at(-1)];
  if (!first || !last || first === last) return [];
  const { eval_best_step: bestStep } = last;
  const best = evaluations.find(({ global_step }) => global_step === bestStep);
  const isPast = best !== undefined && best !== last && last.eval_reward_mean! < best.eval_reward_mean!;
  const [before, after] = [first.eval_diversity, last.eval_diversity];
  return [
    ...(isPast ? [`The held-out reward was best after ${bestStep} steps, and lower at the end: best/ has it.`] : []),
    ...(before !== undefined && after !== undefined && after < before / 2
      ? ['The images of a prompt have become more alike: their diversity is less than half of what it was.']
      : []),
  ];
}

function pictureWarnings({ pictures: { samples, evaluations, damaged } }: ReportedRun): readonly string[] {
  const leftOut = ([kind, { shown, total, perStep }]: readonly [string, typeof samples]): readonly string[] =>
    shown.length < total && perStep > 0
      ? [
          `Pictures of ${total - shown.length} of ${total} steps of ${kind}/ are left out. ` +
            `--max-images ${total * perStep} shows all.`,
        ]
      : [];
  return [
    ...[['samples', samples] as const, ['evaluations', evaluations] as const].flatMap(leftOut),
    ...(damaged.length > 0 ? [`Pictures that cannot be read are left out: ${excerptList(damaged)}.`] : []),
  ];
}
