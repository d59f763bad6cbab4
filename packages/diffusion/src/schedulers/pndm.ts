import { betaChecks, betaDefaults, type BetaConfig } from './betas.js';
import { combine } from './combination.js';
import { alphaAt } from './noise-level.js';
import { epsilonOf, levelsOf, mix, originalOf } from './prediction.js';
import { newestCalls, noCoefficients, schedulerClass } from './scheduler-class.js';
import type { ModelCall, Scheduler, Step } from './scheduler.js';
import { spacedTimesteps, timestepSpacings, type SpacingConfig } from './spacing.js';

const name = 'PNDMScheduler';
const predictionTypes = ['epsilon', 'v_prediction'] as const;

/** Options of `PNDMScheduler`, under diffusers' names in `scheduler_config.json`. */
export type PNDMConfig = BetaConfig &
  SpacingConfig & {
    /** Skips the Runge-Kutta steps at the start, as every Stable Diffusion does. */
    skip_prk_steps: boolean;
    /** Whether ᾱ after the last step is 1 (true) or ᾱ_0 (false). */
    set_alpha_to_one: boolean;
    prediction_type: (typeof predictionTypes)[number];
  };

// Weights of the model outputs, newest first (arXiv 2202.09778, eq. 12; lower orders at the start of the chain).
const multistepWeights = [[1], [3 / 2, -1 / 2], [23 / 12, -16 / 12, 5 / 12], [55 / 24, -59 / 24, 37 / 24, -9 / 24]];

// Weights of the model outputs of one Runge-Kutta step, oldest first (eq. 13).
const rungeKuttaWeights = [1 / 6, 1 / 3, 1 / 3, 1 / 6];
const rungeKuttaSteps = 3;
const rungeKuttaCalls = rungeKuttaSteps * rungeKuttaWeights.length;

/**
 * Pseudo linear multistep sampling (arXiv 2202.09778): diffusers' `PNDMScheduler`. The first steps lack the preceding
 * calls that the rule of order 4 needs. With `skip_prk_steps` their orders are lower, and the second call repeats the
 * first step with the mean of both outputs, so that a chain of n steps has n + 1 calls. Without it the first three
 * steps are Runge-Kutta steps of four calls each, so that n steps have n + 9 calls.
 */
export const PNDMScheduler = schedulerClass<PNDMConfig>({
  name,
  defaults: {
    ...betaDefaults,
    skip_prk_steps: false,
    set_alpha_to_one: false,
    prediction_type: 'epsilon',
    timestep_spacing: 'leading',
    steps_offset: 0,
  },
  checks: { ...betaChecks, timestep_spacing: timestepSpacings, prediction_type: predictionTypes },
  rule: (config, alphas) => ({
    historyLength: config.skip_prk_steps ? 4 : rungeKuttaCalls,
    timesteps: (count) => (config.skip_prk_steps ? multistepChain(config, count) : rungeKuttaChain(config, count)),
    callsAfter: (calls, steps) => (steps === 0 ? calls : counted(config, calls.slice(steps))),
    coefficients: noCoefficients(name),
    step: (modelOutput, step, sample, { history = [] }) => {
      const calls = relevantCalls(config, step, history, { modelOutput, sample });
      const output = combine(calls.map((call) => [call.weight, call.modelOutput]));
      const start = calls.find((call) => call.isStart)?.sample ?? sample;
      const alpha = alphaAt(name, alphas, step.from ?? step.t);
      const levels = levelsOf(alpha);
      const final = config.set_alpha_to_one ? 1 : alphas[0]!;
      const alphaPrev = step.prev >= 0 ? alphaAt(name, alphas, step.prev) : final;
      const epsilon = mix(epsilonOf(config.prediction_type, levels), start, output);
      // Formula (9), solved for x_(t-δ).
      const denominator = alpha * Math.sqrt(1 - alphaPrev) + Math.sqrt(alpha * (1 - alpha) * alphaPrev);
      return {
        prevSample: combine([
          [Math.sqrt(alphaPrev / alpha), start],
          [(alpha - alphaPrev) / denominator, epsilon],
        ]),
        predOriginalSample: mix(originalOf('epsilon', levels), start, epsilon),
      };
    },
  }),
});

export type PNDMScheduler = Scheduler;

/** The calls of n multistep steps; the second one repeats the first step. */
function multistepChain(config: PNDMConfig, count: number): readonly Step[] {
  const spaced = spacedTimesteps(`${name}.timesteps`, config, count);
  const stride = Math.floor(config.num_train_timesteps / count);
  const steps = spaced.map((t, i) => ({ index: i === 0 ? 0 : i + 1, t, prev: t - stride }));
  const second = spaced[1];
  if (second === undefined) return steps;
  const correction = { index: 1, t: second, prev: second, from: second + stride };
  return [steps[0]!, correction, ...steps.slice(1)];
}

/** The calls of three Runge-Kutta steps, each at the start, twice half-way and at the end, and of multistep steps. */
function rungeKuttaChain(config: PNDMConfig, count: number): readonly Step[] {
  const spaced = spacedTimesteps(`${name}.timesteps`, config, count);
  if (count <= rungeKuttaSteps) {
    throw new Error(
      `${name}.timesteps: numInferenceSteps got ${count}, expected 4 or more: the first three are Runge-Kutta steps. ` +
        'Take more steps, or set skip_prk_steps to true.',
    );
  }
  const stride = Math.floor(config.num_train_timesteps / count);
  const half = Math.floor(stride / 2);
  const calls = spaced.slice(0, rungeKuttaSteps).flatMap((from, i) => {
    const end = spaced[i + 1]!;
    const middle = end + half;
    return [
      { t: from, prev: from - half, from },
      { t: middle, prev: middle, from },
      { t: middle, prev: middle - half, from },
      { t: end, prev: end, from },
    ];
  });
  const multistep = spaced.slice(rungeKuttaSteps).map((t) => ({ t, prev: t - stride }));
  return [...calls, ...multistep].map((step, index) => ({ index, ...step }));
}

/**
 * Numbers the calls of a chain that starts in the middle. diffusers counts them from there, so that the second one
 * repeats the first step, or what it takes for it, whichever calls these are.
 */
function counted({ skip_prk_steps }: PNDMConfig, calls: readonly Step[]): readonly Step[] {
  if (!skip_prk_steps)
    throw new Error(
      `${name}: skip_prk_steps got false for a chain that starts in the middle, expected true: diffusers runs the ` +
        'Runge-Kutta steps of the start of the chain there. Set skip_prk_steps to true, or take another scheduler.',
    );
  const stride = Math.abs(calls.at(-1)!.t - calls.at(-1)!.prev);
  return calls.map(({ t }, index) =>
    index === 1 ? { index, t, prev: t, from: t + stride } : { index, t, prev: t - stride },
  );
}

interface WeightedCall extends ModelCall {
  readonly weight: number;
  /** Whether the step starts from the sample of this call. */
  readonly isStart: boolean;
}

/** The calls that a step reads, the current one included. */
function relevantCalls(
  { skip_prk_steps }: PNDMConfig,
  step: Step,
  history: readonly ModelCall[],
  current: ModelCall,
): readonly WeightedCall[] {
  const { index } = step;
  const weights = skip_prk_steps ? multistepCalls(index) : rungeKuttaOutputs(index);
  const oldest = Math.min(...weights.keys());
  const calls = [...newestCalls(name, step, history, index - oldest), current];
  const start = startOf(index, skip_prk_steps);
  return [...weights].map(([at, weight]) => ({ ...calls[at - oldest]!, weight, isStart: at === start }));
}

/** The index of the call whose sample a step starts from. */
function startOf(index: number, skipsRungeKutta: boolean): number {
  if (skipsRungeKutta) return index === 1 ? 0 : index;
  return index < rungeKuttaCalls ? index - (index % rungeKuttaWeights.length) : index;
}

/** The weights of calls by index: the second call only corrects the first step, and is not read later. */
function multistepCalls(index: number): ReadonlyMap<number, number> {
  if (index === 1)
    return new Map([
      [1, 1 / 2],
      [0, 1 / 2],
    ]);
  const used = Array.from({ length: index + 1 }, (_, i) => index - i).filter((i) => i !== 1);
  return weighted(used);
}

/** The weights of calls by index: of a Runge-Kutta step, only the first call is read later. */
function rungeKuttaOutputs(index: number): ReadonlyMap<number, number> {
  const calls = rungeKuttaWeights.length;
  if (index < rungeKuttaCalls) {
    const start = index - (index % calls);
    if (index - start < calls - 1)
      return new Map([
        [start, index === start ? 1 : 0],
        [index, 1],
      ]);
    return new Map(rungeKuttaWeights.map((weight, i) => [start + i, weight]));
  }
  const used = Array.from({ length: index + 1 }, (_, i) => index - i);
  return weighted(used.filter((i) => i >= rungeKuttaCalls || i % calls === 0));
}

/** The weights of the newest calls, of order 1 to 4. */
function weighted(newestFirst: readonly number[]): ReadonlyMap<number, number> {
  const weights = multistepWeights[Math.min(newestFirst.length, multistepWeights.length) - 1]!;
  return new Map(weights.map((weight, i) => [newestFirst[i]!, weight]));
}
