import { startedAt } from './scheduler-class.js';
import type { Step } from './scheduler.js';
import type { SigmaSchedule } from './sigmas.js';

/** The place of a model call in a chain of two calls a level. */
export interface TwoCallPlace {
  /** The level that the step starts from. */
  readonly level: number;
  /** Whether the call is the second one, which repeats the step from the sample before the first. */
  readonly isSecond: boolean;
}

/** Returns the place of a step. */
export const placeOf = ({ index }: Step): TwoCallPlace => ({ level: Math.floor(index / 2), isSecond: index % 2 === 1 });

/** Returns the calls after a number of steps. */
export const twoCallsAfter = (calls: readonly Step[], steps: number): readonly Step[] => startedAt(calls, 2 * steps);

/**
 * Returns the steps of a chain of two model calls a level; the last level has one.
 * @param secondTimesteps the timesteps of the second calls, by level
 */
export function twoCallSteps(
  { sigmas, timesteps }: SigmaSchedule,
  secondTimesteps: readonly number[],
): readonly Step[] {
  const levels = [...sigmas, 0].map(Math.fround);
  const calls = timesteps.flatMap((t, i) => (i === timesteps.length - 1 ? [t] : [t, secondTimesteps[i]!]));
  return calls.map((t, index) => ({ index, t, prev: calls[index + 1] ?? -1, sigmas: levels }));
}
