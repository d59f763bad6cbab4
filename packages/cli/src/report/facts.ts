import { rewardsOf } from '../card/run-facts.js';
import { rewardLimits, unknownLimits } from '../card/reward-limits.js';
import type { RunRecord } from '../run-records.js';
import { clock } from '../terminal/progress.js';
import type { ReportedRun, RunState } from './reported-run.js';
import type { Setting } from './settings.js';

const states: Readonly<Record<RunState, string>> = {
  ended: 'ended',
  locked: 'going on, or killed',
  stopped: 'stopped before its end',
};

/** The rows of the summary; a run without one has ''. */
const rows: readonly (readonly [name: string, value: (run: ReportedRun) => string])[] = [
  ['State', ({ state }) => states[state]],
  ['Algorithm', ({ manifest }) => ({ alignprop: 'AlignProp', ddpo: 'DDPO' })[manifest.algorithm]],
  ['Model', ({ manifest }) => manifest.identity?.model?.name ?? ''],
  ['Reward', ({ manifest }) => manifest.identity?.reward?.name ?? ''],
  ['Prompts', ({ manifest }) => manifest.identity?.prompts?.name ?? ''],
  ['Epochs', ({ steps, manifest }) => `${(steps.at(-1)?.epoch ?? -1) + 1} of ${String(manifest.config.num_epochs)}`],
  ['Training reward', ({ steps }) => change(steps, 'reward_mean')],
  ['Held-out reward', ({ evaluations }) => change(evaluations, 'eval_reward_mean')],
  ['Best held-out reward', ({ evaluations }) => best(evaluations)],
  ['Diversity', ({ evaluations }) => change(evaluations, 'eval_diversity')],
  ['Time of all steps', ({ steps }) => duration(steps)],
];

/** The facts that a reader looks for first, each with its value for every run. */
export function factsOf(runs: readonly ReportedRun[]): readonly Setting[] {
  return rows
    .map(([name, value]) => ({ name, values: runs.map(value) }))
    .filter(({ values }) => values.some((value) => value !== ''));
}

/** `-3.53 → -2.97`: the first and the last finite value. */
function change(records: readonly RunRecord[], name: string): string {
  const values = records.map((record) => record[name]).filter((value) => Number.isFinite(value)) as number[];
  if (values.length === 0) return '';
  return [...new Set([values[0]!, values.at(-1)!].map(digits))].join(' → ');
}

function duration(steps: readonly RunRecord[]): string {
  const times = steps.map(({ seconds }) => seconds).filter((seconds) => Number.isFinite(seconds)) as number[];
  return times.length > 0 ? clock(times.reduce((sum, seconds) => sum + seconds)) : '';
}

function best(evaluations: readonly RunRecord[]): string {
  const step = evaluations.at(-1)?.eval_best_step;
  const value = evaluations.find(({ global_step }) => global_step === step)?.eval_reward_mean;
  return step === undefined || value === undefined ? '' : `${digits(value)} after ${step} steps`;
}

/** A number with four digits: what people compare. */
const digits = (value: number): string => `${Number(value.toPrecision(4))}`;

/** Says for each reward of the runs what it cannot see. */
export function limitsOf(runs: readonly ReportedRun[]): readonly (readonly [name: string, limits: string])[] {
  const terms = runs.flatMap(({ manifest }) => rewardsOf(manifest));
  const limits = new Map(
    terms.map(({ kind, source, name }) => [name, (kind === 'listed' && rewardLimits[source]) || unknownLimits]),
  );
  return [...limits];
}
