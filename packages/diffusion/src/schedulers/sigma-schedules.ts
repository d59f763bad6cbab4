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

/** The options of the noise levels of multistep solvers. */
export type SolverSigmaConfig = SigmaConfig & {
  /** Levels that are equidistant in log σ over the training timesteps. */
  use_lu_lambdas?: boolean;
  beta_schedule: string;
};

/**
 * Returns the noise levels of a multistep solver's chain: those of the spaced timesteps, or of a curve over all the
 * training timesteps. The timesteps are integers.
 * @param last the number of timesteps to spread the steps over, num_train_timesteps by default
 * @throws as `spacedTimesteps`
 */
export function solverSchedule(
  owner: string,
  config: SpacingConfig & SolverSigmaConfig & SchedulerConfig,
  sigmas: Float32Array,
  count: number,
  last?: number,
): SigmaSchedule {
  const timesteps = solverTimesteps(owner, config, count, last);
  const [largest, smallest] = [sigmas.at(-1)!, sigmas[0]!];
  const isLu = config.use_lu_lambdas === true && !config.use_karras_sigmas;
  const curve = isLu ? logSpaced(largest, smallest, count) : convertedSigmas(config, [largest, smallest], count);
  if (!curve) return { timesteps, sigmas: timesteps.map((t) => sigmaAt(sigmas, t)) };
  const exact = curve.map((sigma) => timestepOf(sigmas, sigma));
  const isRounded = (isLu || config.use_karras_sigmas) && roundsTimesteps(owner, config);
  return { timesteps: isRounded ? rounded(exact) : exact.map(Math.trunc), sigmas: curve };
}

/** diffusers' DPM-Solver multistep alone truncates the timesteps of a cosine schedule as well. */
const roundsTimesteps = (owner: string, { beta_schedule }: SolverSigmaConfig) =>
  !(owner.startsWith('DPMSolverMultistepScheduler') && beta_schedule === 'squaredcos_cap_v2');
