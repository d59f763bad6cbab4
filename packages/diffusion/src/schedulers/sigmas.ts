import { roundHalfEven } from '../round-half-even.js';
import { betaQuantile } from './beta-quantile.js';
import type { SchedulerConfig, Step } from './scheduler.js';

const { fround } = Math;

export const finalSigmasTypes = ['zero', 'sigma_min'] as const;

/** The options that choose the noise levels of a chain; at most one is true. */
export type SigmaConfig = {
  /** Levels of Karras et al. (arXiv 2206.00364, eq. 5), with ρ = 7. */
  use_karras_sigmas: boolean;
  /** Levels that are equidistant in log σ. */
  use_exponential_sigmas: boolean;
  /** Levels at quantiles of a beta distribution (arXiv 2407.12173). */
  use_beta_sigmas: boolean;
};

/** The defaults of `SigmaConfig`. */
export const sigmaDefaults: SigmaConfig = {
  use_karras_sigmas: false,
  use_exponential_sigmas: false,
  use_beta_sigmas: false,
};

/** The noise levels of a chain, noisiest first and without the final one, and their training timesteps. */
export interface SigmaSchedule {
  readonly sigmas: readonly number[];
  readonly timesteps: readonly number[];
}

/** Returns σ = √((1 - ᾱ) / ᾱ), rounded where torch rounds. */
export const sigmaOf = (alpha: number): number => fround(Math.sqrt(fround(fround(1 - alpha) / alpha)));

/** Returns σ of every training timestep. */
export const trainingSigmas = (alphas: Float32Array): Float32Array => alphas.map(sigmaOf);

/** Returns the standard deviation of the first sample of a chain whose samples are x_0 + σ · ε. */
export function startSigma(sigmas: readonly number[], spacing: string): number {
  const largest = Math.max(...sigmas);
  return spacing === 'leading' ? Math.sqrt(largest * largest + 1) : largest;
}

/**
 * Returns the steps of a chain of one model call a level.
 * @param final the noise level of the result
 */
export function sigmaSteps({ sigmas, timesteps }: SigmaSchedule, final: number): readonly Step[] {
  const levels = [...sigmas, final].map(fround);
  return timesteps.map((t, index) => ({ index, t, prev: timesteps[index + 1] ?? -1, sigmas: levels }));
}

/** Returns σ at a timestep, fractional or not, by linear interpolation. */
export function sigmaAt(sigmas: Float32Array, t: number): number {
  const at = Math.min(Math.max(t, 0), sigmas.length - 1);
  const low = Math.min(Math.floor(at), Math.max(sigmas.length - 2, 0));
  const high = Math.min(low + 1, sigmas.length - 1);
  return sigmas[low]! + (sigmas[high]! - sigmas[low]!) * (at - low);
}

/** Returns the fractional timestep of a noise level, by linear interpolation in log σ. */
export function timestepOf(sigmas: Float32Array, sigma: number): number {
  const target = Math.log(Math.max(sigma, 1e-10));
  const logs = sigmas.map(Math.log);
  const above = logs.findIndex((log) => log > target);
  const low = Math.min(Math.max(above < 0 ? logs.length - 1 : above - 1, 0), logs.length - 2);
  const share = (logs[low]! - target) / fround(logs[low]! - logs[low + 1]!);
  const weight = Math.min(Math.max(share, 0), 1);
  return (1 - weight) * low + weight * (low + 1);
}

/** The bounds of the chosen noise levels. */
interface SigmaRange {
  readonly smallest: number;
  readonly largest: number;
}

type Curve = (range: SigmaRange, count: number) => number[];

/**
 * Returns the noise levels that the options ask for; undefined if they ask for none.
 * @param ends the largest and the smallest level; `sigma_max` and `sigma_min` of the config come first
 */
export function convertedSigmas(
  config: SigmaConfig & SchedulerConfig,
  [first, last]: readonly [number, number],
  count: number,
): number[] | undefined {
  const option = curveOf(config);
  if (!option) return undefined;
  const range = {
    smallest: (config.sigma_min as number | null | undefined) ?? last,
    largest: (config.sigma_max as number | null | undefined) ?? first,
  };
  return curves[option](range, count);
}

/** Returns the option that chooses the noise levels; undefined for those of the spaced timesteps. */
export const curveOf = (config: SigmaConfig): keyof SigmaConfig | undefined =>
  curveNames.find((option) => config[option]);

/** @throws if more than one of the options that choose the noise levels is true */
export function checkCurves(owner: string, config: SigmaConfig): void {
  const chosen = curveNames.filter((option) => config[option]);
  if (chosen.length > 1)
    throw new Error(`${owner}: ${chosen.join(' and ')} got true, expected one of them. Set the others to false.`);
}

/** numpy.linspace. */
const linspace = (start: number, end: number, count: number) =>
  Array.from({ length: count }, (_, i) => {
    if (i === 0) return start;
    return i === count - 1 ? end : start + i * ((end - start) / (count - 1));
  });

const rho = 7;

const curves: Readonly<Record<keyof SigmaConfig, Curve>> = {
  use_karras_sigmas: ({ smallest, largest }, count) =>
    linspace(0, 1, count).map(
      (ramp) => (largest ** (1 / rho) + ramp * (smallest ** (1 / rho) - largest ** (1 / rho))) ** rho,
    ),
  use_exponential_sigmas: ({ smallest, largest }, count) =>
    linspace(Math.log(largest), Math.log(smallest), count).map(Math.exp),
  use_beta_sigmas: ({ smallest, largest }, count) =>
    linspace(0, 1, count).map((ramp) => smallest + betaQuantile(1 - ramp, 0.6, 0.6) * (largest - smallest)),
};

const curveNames = Object.keys(curves) as (keyof SigmaConfig)[];

/** Returns noise levels that are equidistant in log σ, rounded where torch rounds. */
export const logSpaced = (largest: number, smallest: number, count: number): number[] =>
  linspace(fround(Math.log(largest)), fround(Math.log(smallest)), count).map(Math.exp);

/** The noise level that an ancestral step goes down to, and the standard deviation of the noise it adds. */
export function ancestralLevels(from: number, to: number): { down: number; up: number } {
  const up = Math.sqrt((to ** 2 * (from ** 2 - to ** 2)) / from ** 2);
  return { down: Math.sqrt(Math.max(to ** 2 - up ** 2, 0)), up };
}

/** Rounds timesteps to integers, half to even. */
export const rounded = (timesteps: readonly number[]): number[] => timesteps.map(roundHalfEven);
