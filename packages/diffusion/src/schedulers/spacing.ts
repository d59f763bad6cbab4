import { roundHalfEven } from '../round-half-even.js';

export const timestepSpacings = ['leading', 'trailing', 'linspace'] as const;

/** The options that choose the training timesteps of a chain with fewer steps (arXiv 2305.08891, table 2). */
export type SpacingConfig = {
  num_train_timesteps: number;
  timestep_spacing: (typeof timestepSpacings)[number];
  /** Added to the timesteps of `leading` spacing. */
  steps_offset: number;
};

/**
 * Returns the training timesteps of a chain of `count` steps, largest first.
 *
 * Always returns `count` timesteps. diffusers returns one more where numpy's `arange` rounds up with `trailing` spacing
 * (61 of 1000, for example): timestep -1, which wraps around to the noisiest.
 * @throws if `count` is not an integer in [1, num_train_timesteps], or the offset exceeds the training timesteps
 */
export function spacedTimesteps(owner: string, config: SpacingConfig, count: number): number[] {
  return fractionalTimesteps(owner, config, count).map(roundHalfEven);
}

/**
 * Returns the training timesteps of a chain as `spacedTimesteps` does, with fractions where `linspace` has them.
 * @throws as `spacedTimesteps`
 */
export function fractionalTimesteps(owner: string, config: SpacingConfig, count: number): number[] {
  const { num_train_timesteps: total, steps_offset: offset } = config;
  checkCount(owner, total, count);
  return checkedTimesteps(owner, config, spacings[config.timestep_spacing](count, total, offset), count);
}

/**
 * Returns the training timesteps of a multistep solver's chain: `count` of `count` + 1 points, without the last.
 * @param last the number of timesteps to spread the points over, num_train_timesteps by default
 * @throws as `spacedTimesteps`
 */
export function solverTimesteps(
  owner: string,
  config: SpacingConfig,
  count: number,
  last = config.num_train_timesteps,
): number[] {
  const { num_train_timesteps: total, timestep_spacing: spacing, steps_offset: offset } = config;
  checkCount(owner, total, count);
  const length = spacing === 'trailing' ? Math.ceil(last / (total / count) - 1e-9) : count;
  const at: Record<SpacingConfig['timestep_spacing'], (i: number) => number> = {
    leading: (i) => (count - i) * Math.floor(last / (count + 1)) + offset,
    trailing: (i) => roundHalfEven(last - i * (total / count)) - 1,
    linspace: (i) => roundHalfEven((count - i) * ((last - 1) / count)),
  };
  return checkedTimesteps(
    owner,
    config,
    Array.from({ length }, (_, i) => at[spacing](i)),
    count,
  );
}

function checkCount(owner: string, total: number, count: number): void {
  if (Number.isInteger(count) && count >= 1 && count <= total) return;
  throw new Error(
    `${owner}: numInferenceSteps got ${count}, expected an integer from 1 to num_train_timesteps = ${total}.`,
  );
}

function checkedTimesteps(
  owner: string,
  { num_train_timesteps: total, steps_offset: offset }: SpacingConfig,
  timesteps: number[],
  count: number,
): number[] {
  const outside = timesteps.find((t) => t < 0 || t >= total);
  if (outside === undefined) return timesteps;
  throw new Error(
    `${owner}: ${count} steps with steps_offset ${offset} got timestep ${outside}, expected 0 to ${total - 1}. ` +
      'Take fewer steps or another offset.',
  );
}

type Spacing = (count: number, total: number, offset: number) => number[];

const spacings: Readonly<Record<SpacingConfig['timestep_spacing'], Spacing>> = {
  leading: (count, total, offset) => descending(count, (i) => i * Math.floor(total / count) + offset),
  trailing: (count, total) => Array.from({ length: count }, (_, i) => roundHalfEven(total - i * (total / count)) - 1),
  linspace: (count, total) => descending(count, (i) => (count === 1 ? 0 : i * ((total - 1) / (count - 1)))),
};

const descending = (count: number, at: (i: number) => number) =>
  Array.from({ length: count }, (_, i) => at(count - 1 - i));
