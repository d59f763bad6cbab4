import {
  convertedSigmas,
  logSpaced,
  rounded,
  sigmaAt,
  timestepOf,
  type SigmaConfig,
  type SigmaSchedule,
} from './sigmas.js';
import type { SchedulerConfig } from './scheduler.js';
import { fractionalTimesteps, solverTimesteps, type SpacingConfig } from './spacing.js';

/**
 * Returns the noise levels of a chain that solves dx/dσ, as k-diffusion does: those of the spaced timesteps, or of a
 * curve between the first and the last of them, whose timesteps may be fractions.
 * @param sigmas the noise levels of all training timesteps
 * @throws as `spacedTimesteps`
 */
export function derivativeSchedule(
  owner: string,
  config: SpacingConfig & SigmaConfig & SchedulerConfig,
  sigmas: Float32Array,
  count: number,
): SigmaSchedule {
  const timesteps = fractionalTimesteps(owner, config, count).map(Math.fround);
  const spaced = timesteps.map((t) => sigmaAt(sigmas, t));
  const curve = convertedSigmas(config, [spaced[0]!, spaced.at(-1)!], count);
  if (!curve) return { timesteps, sigmas: spaced };
  return { timesteps: curve.map((sigma) => Math.fround(timestepOf(sigmas, sigma))), sigmas: curve };
}

/** The options of a multistep solver's chain. */
export interface SolverScheduleOptions {
  /** The number of timesteps to spread the steps over, num_train_timesteps by default. */
  readonly last?: number;
  /** Takes levels that are equidistant in log σ over the training timesteps, unless the config asks for Karras'. */
  readonly isLogSpaced?: boolean;
  /** Truncates the timesteps of curves that are rounded otherwise. */
  readonly truncates?: boolean;
}

/**
 * Returns the noise levels of a multistep solver's chain: those of the spaced timesteps, or of a curve over all the
 * training timesteps. The timesteps are integers: rounded for Karras' levels and those of `isLogSpaced`, truncated for
 * other curves.
 * @param sigmas the noise levels of all training timesteps
 * @throws as `spacedTimesteps`
 */
export function solverSchedule(
  owner: string,
  config: SpacingConfig & SigmaConfig & SchedulerConfig,
  sigmas: Float32Array,
  count: number,
  { last, isLogSpaced = false, truncates = false }: SolverScheduleOptions = {},
): SigmaSchedule {
  const timesteps = solverTimesteps(owner, config, count, last);
  const [largest, smallest] = [sigmas.at(-1)!, sigmas[0]!];
  const isLog = isLogSpaced && !config.use_karras_sigmas;
  const curve = isLog ? logSpaced(largest, smallest, count) : convertedSigmas(config, [largest, smallest], count);
  if (!curve) return { timesteps, sigmas: timesteps.map((t) => sigmaAt(sigmas, t)) };
  const exact = curve.map((sigma) => timestepOf(sigmas, sigma));
  const isRounded = !truncates && (isLog || config.use_karras_sigmas);
  return { timesteps: isRounded ? rounded(exact) : exact.map(Math.trunc), sigmas: curve };
}
