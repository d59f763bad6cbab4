// Noise schedules in the precision in which torch computes them, so that models see the noise they were trained on.
const { fround } = Math;

export const betaSchedules = ['linear', 'scaled_linear', 'squaredcos_cap_v2'] as const;

/** The fields that define β_t; names and values as in diffusers' files. */
export type BetaConfig = {
  num_train_timesteps: number;
  beta_start: number;
  beta_end: number;
  beta_schedule: (typeof betaSchedules)[number];
  /** Given betas take the place of the schedule. */
  trained_betas: readonly number[] | null;
  /** Rescales to a signal-to-noise ratio of zero at the last timestep (arXiv 2305.08891, algorithm 1). */
  rescale_betas_zero_snr?: boolean;
};

/**
 * ᾱ_t = Π (1 - β_s), float32 as diffusers keeps it; `[num_train_timesteps]`.
 * @throws if there are no timesteps, or not as many trained betas as timesteps
 */
export function alphasCumprod(owner: string, config: BetaConfig): Float32Array {
  const { num_train_timesteps: count, trained_betas: trained } = config;
  if (!Number.isInteger(count) || count < 1)
    throw new Error(`${owner}: num_train_timesteps got ${count}, expected a positive integer.`);
  if (trained && trained.length !== count) {
    throw new Error(
      `${owner}: trained_betas got ${trained.length} values, expected num_train_timesteps = ${count}. Set num_train_timesteps to match.`,
    );
  }
  const scheduled = betas(config);
  return cumulativeProduct(config.rescale_betas_zero_snr ? rescaleZeroTerminalSnr(scheduled) : scheduled);
}

function betas({
  num_train_timesteps: count,
  beta_start: start,
  beta_end: end,
  beta_schedule: schedule,
  trained_betas: trained,
}: BetaConfig): Float32Array {
  if (trained) return Float32Array.from(trained);
  if (schedule === 'linear') return linspace(start, end, count);
  if (schedule === 'scaled_linear') return linspace(Math.sqrt(start), Math.sqrt(end), count).map((root) => root * root);
  return Float32Array.from({ length: count }, (_, i) =>
    Math.min(1 - cosineAlphaBar((i + 1) / count) / cosineAlphaBar(i / count), 0.999),
  );
}

/** ᾱ of time in [0, 1] (arXiv 2102.09672, eq. 17). */
const cosineAlphaBar = (time: number) => Math.cos((((time + 0.008) / 1.008) * Math.PI) / 2) ** 2;

/** As torch.linspace in float32. */
function linspace(start: number, end: number, count: number): Float32Array {
  const first = fround(start);
  const step = count > 1 ? fround(fround(fround(end) - first) / (count - 1)) : 0;
  return Float32Array.from({ length: count }, (_, i) => first + fround(step * i));
}

/** torch.cumprod of 1 - β: float32 factors, products kept in float64 and rounded one by one. */
function cumulativeProduct(scheduled: Float32Array): Float32Array {
  let product = 1;
  return scheduled.map((beta) => (product *= fround(1 - beta)));
}

function rescaleZeroTerminalSnr(scheduled: Float32Array): Float32Array {
  const roots = cumulativeProduct(scheduled).map(Math.sqrt);
  const [first, last] = [roots[0]!, roots.at(-1)!];
  const scale = fround(first / fround(first - last));
  const bars = roots.map((root) => fround(fround(root - last) * scale) ** 2); // ᾱ, 0 at the last timestep
  return bars.map((bar, i) => 1 - fround(i === 0 ? bar : bar / bars[i - 1]!));
}
