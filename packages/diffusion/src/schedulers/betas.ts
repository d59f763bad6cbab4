import { fraction, numberListOrNull } from './scheduler-config.js';

// Rounds where torch rounds, so that models see the noise levels they were trained on.
const { fround } = Math;

/** The schedules that every class has. */
export const betaSchedules = ['linear', 'scaled_linear', 'squaredcos_cap_v2'] as const;

type BetaSchedule = (typeof betaSchedules)[number] | 'exp' | 'laplace' | 'sigmoid';

/** The options that define β_t, under their names in `scheduler_config.json`. */
export type BetaConfig = {
  num_train_timesteps: number;
  beta_start: number;
  beta_end: number;
  beta_schedule: BetaSchedule;
  /** Replaces the schedule by these β_t. */
  trained_betas: readonly number[] | null;
  /** Rescales the schedule to a signal-to-noise ratio of 0 at the last timestep (arXiv 2305.08891, algorithm 1). */
  rescale_betas_zero_snr?: boolean;
};

/** The defaults of most classes. */
export const betaDefaults: BetaConfig = {
  num_train_timesteps: 1000,
  beta_start: 0.0001,
  beta_end: 0.02,
  beta_schedule: 'linear',
  trained_betas: null,
};

/** The most training timesteps: a hundred times those of all published models. Each takes a noise level. */
const MAX_TIMESTEPS = 100_000;

/** The checks of the options that most classes have. */
export const betaChecks = {
  beta_start: fraction,
  beta_end: fraction,
  beta_schedule: betaSchedules,
  trained_betas: numberListOrNull,
};

/**
 * Computes ᾱ_t = Π (1 - β_s) in float32, as diffusers does: `[num_train_timesteps]`.
 * @throws if `num_train_timesteps` is not an integer from 1 to 100,000, or is not the number of trained betas
 */
export function alphasCumprod(owner: string, config: BetaConfig): Float32Array {
  const { num_train_timesteps: count, trained_betas: trained } = config;
  if (!Number.isInteger(count) || count < 1 || count > MAX_TIMESTEPS)
    throw new Error(`${owner}: num_train_timesteps got ${count}, expected an integer from 1 to ${MAX_TIMESTEPS}.`);
  if (trained && trained.length !== count) {
    throw new Error(
      `${owner}: trained_betas got ${trained.length} values, expected num_train_timesteps = ${count}. ` +
        'Set num_train_timesteps to match.',
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
  if (schedule === 'sigmoid') return linspace(-6, 6, count).map((x) => (end - start) / (1 + Math.exp(-x)) + start);
  const alphaBar = alphaBars[schedule];
  return Float32Array.from({ length: count }, (_, i) =>
    Math.min(1 - alphaBar((i + 1) / count) / alphaBar(i / count), 0.999),
  );
}

/** ᾱ at a time in [0, 1], by schedule; the cosine is eq. 17 of arXiv 2102.09672. */
const alphaBars = {
  squaredcos_cap_v2: (time: number) => Math.cos((((time + 0.008) / 1.008) * Math.PI) / 2) ** 2,
  exp: (time: number) => Math.exp(time * -12),
  laplace: (time: number) => {
    const sign = time > 0.5 ? -1 : 1;
    const signalToNoise = Math.exp(-0.5 * sign * Math.log(1 - 2 * Math.abs(0.5 - time) + 1e-6));
    return Math.sqrt(signalToNoise / (1 + signalToNoise));
  },
};

/** torch.linspace in float32: from both ends to the middle, each value rounded once. */
function linspace(start: number, end: number, count: number): Float32Array {
  const [first, last] = [fround(start), fround(end)];
  const step = count > 1 ? fround(fround(last - first) / (count - 1)) : 0;
  const half = Math.floor(count / 2);
  return Float32Array.from({ length: count }, (_, i) =>
    i < half || count === 1 ? first + step * i : last - step * (count - 1 - i),
  );
}

/** torch.cumprod of 1 - β: multiplies float32 factors in float64 and rounds each product to float32. */
function cumulativeProduct(scheduled: Float32Array): Float32Array {
  let product = 1;
  return scheduled.map((beta) => (product *= fround(1 - beta)));
}

/** diffusers' `rescale_zero_terminal_snr`. */
function rescaleZeroTerminalSnr(scheduled: Float32Array): Float32Array {
  const roots = cumulativeProduct(scheduled).map(Math.sqrt);
  const [first, last] = [roots[0]!, roots.at(-1)!];
  const scale = fround(first / fround(first - last));
  const bars = roots.map((root) => fround(fround(root - last) * scale) ** 2); // ᾱ, 0 at the last timestep
  return bars.map((bar, i) => 1 - fround(i === 0 ? bar : bar / bars[i - 1]!));
}
