import type { Tensor4D } from '@tensorflow/tfjs-core';
import { combine, type Term } from './combination.js';
import { epsilonOf, mix, predictOriginal, thresholdBound, unitLevels, type Bound, type Levels } from './prediction.js';
import type { FieldChecks } from './scheduler-config.js';
import type { ModelCall, Step, StepOutput } from './scheduler.js';
import { finalSigmasTypes } from './sigmas.js';
import { solverChecks, solverDefaults, type SolverConfig } from './solver-config.js';

export const algorithmTypes = ['dpmsolver', 'dpmsolver++', 'sde-dpmsolver', 'sde-dpmsolver++'] as const;
const solverTypes = ['midpoint', 'heun'] as const;

/** Options of the DPM-Solver classes, under diffusers' names in `scheduler_config.json`. */
export type DPMSolverConfig = SolverConfig & {
  /** DPM-Solver predicts ε (arXiv 2206.00927), DPM-Solver++ x_0 (arXiv 2211.01095); `sde` adds noise. */
  algorithm_type: (typeof algorithmTypes)[number];
  solver_type: (typeof solverTypes)[number];
  final_sigmas_type: (typeof finalSigmasTypes)[number];
  /** The smallest log(√ᾱ / √(1 - ᾱ)) of a timestep; -Infinity for all timesteps. */
  lambda_min_clipped: number;
  /** Models that predict variances, `learned` and `learned_range`, are not supported. Has no other effect. */
  variance_type: string | null;
};

/** The defaults that both classes have. */
export const dpmSolverDefaults: DPMSolverConfig = {
  ...solverDefaults,
  algorithm_type: 'dpmsolver++',
  solver_type: 'midpoint',
  final_sigmas_type: 'zero',
  lambda_min_clipped: -Infinity,
  variance_type: null,
};

/** The checks that both classes have. */
export const dpmSolverChecks = {
  ...solverChecks,
  algorithm_type: algorithmTypes,
  solver_type: solverTypes,
  final_sigmas_type: finalSigmasTypes,
  variance_type: {
    accepts: (value) => value !== 'learned' && value !== 'learned_range',
    expected: 'null or a fixed one',
  },
} as const satisfies FieldChecks<DPMSolverConfig>;

/** The values that diffusers takes in place of other solvers' options. */
export const dpmSolverReplacements = {
  algorithm_type: { deis: 'dpmsolver++' },
  solver_type: { logrho: 'midpoint', bh1: 'midpoint', bh2: 'midpoint' },
};

/** @throws if options contradict one another */
export function checkDPMSolver(
  owner: string,
  { algorithm_type, final_sigmas_type, solver_order }: DPMSolverConfig,
): void {
  if ((algorithm_type === 'dpmsolver' || algorithm_type === 'sde-dpmsolver') && final_sigmas_type === 'zero')
    throw new Error(
      `${owner}: final_sigmas_type got zero with algorithm_type ${algorithm_type}, expected sigma_min. ` +
        'Set final_sigmas_type to sigma_min.',
    );
  if (algorithm_type === 'sde-dpmsolver' && solver_order === 3)
    throw new Error(`${owner}: solver_order got 3 with sde-dpmsolver, expected 1 or 2. Set solver_order to 2.`);
}

/** Whether the algorithm extrapolates x_0 instead of ε. */
const predictsOriginal = ({ algorithm_type }: DPMSolverConfig): boolean => algorithm_type.endsWith('++');

/** Whether steps add noise. */
export const isStochastic = ({ algorithm_type }: DPMSolverConfig): boolean => algorithm_type.startsWith('sde-');

/** Returns the number of timesteps whose log(√ᾱ / √(1 - ᾱ)) is not below `lambda_min_clipped`. */
export const unclippedTimesteps = ({ lambda_min_clipped }: DPMSolverConfig, sigmas: Float32Array): number =>
  sigmas.reduce((kept, sigma) => (-Math.log(sigma) >= lambda_min_clipped ? kept + 1 : kept), 0);

/** A step of the solver. */
export interface SolverStep {
  readonly config: DPMSolverConfig;
  readonly step: Step;
  /** The calls that the step reads, the newest first; as many as its order. */
  readonly calls: readonly ModelCall[];
  /** The place in `calls` of the call that the step starts from: the first for a multistep rule, else the last. */
  readonly base: number;
  readonly noise: Tensor4D | undefined;
}

/** Takes a step of DPM-Solver (arXiv 2206.00927) or DPM-Solver++ (arXiv 2211.01095), of order 1 to 3. */
export function solverStep({ config, step, calls, base, noise }: SolverStep): StepOutput {
  const { index } = step;
  const sigmas = step.sigmas!;
  const bound = thresholdBound(config);
  const lambdas = calls.map((_, i) => -Math.log(sigmas[index - i]!));
  const h = -Math.log(sigmas[index + 1]!) - lambdas[base]!;
  const algorithm = algorithms[config.algorithm_type];
  const weights = algorithm(unitLevels(sigmas[index - base]!), unitLevels(sigmas[index + 1]!), h);
  const isMidpoint = config.solver_type === 'midpoint' && calls.length === 2;
  const byOrder = [weights.value, isMidpoint ? weights.middle : weights.slope, weights.curve];
  const differences = base === 0 ? multistepDifferences(lambdas, h) : singlestepDifferences(lambdas, h, config);
  const terms: Term[] = [[weights.sample, calls[base]!.sample]];
  calls.forEach((call, i) => {
    const weight = differences.reduce((sum, difference, k) => sum + byOrder[k]! * difference[i]!, 0);
    terms.push([weight, convert(config, bound, sigmas[index - i]!, call)]);
  });
  if (noise) terms.push([weights.noise, noise]);
  return { prevSample: combine(terms), predOriginalSample: originalAt(config, bound, sigmas[index]!, calls[0]!) };
}

/** The predicted x_0 of a call. */
const originalAt = (config: DPMSolverConfig, bound: Bound | undefined, sigma: number, call: ModelCall): Tensor4D =>
  predictOriginal(config.prediction_type, unitLevels(sigma), call, bound);

/** Returns the quantity that the algorithm extrapolates: x_0, or ε. */
function convert(config: DPMSolverConfig, bound: Bound | undefined, sigma: number, call: ModelCall): Tensor4D {
  if (predictsOriginal(config)) return originalAt(config, bound, sigma, call);
  const levels = unitLevels(sigma);
  if (!bound) return mix(epsilonOf(config.prediction_type, levels), call.sample, call.modelOutput);
  return mix(epsilonOf('sample', levels), call.sample, originalAt(config, bound, sigma, call));
}

/** D_0, D_1 and D_2 as weights of the converted outputs m_0, m_1 and m_2, the newest first. */
type Differences = readonly (readonly number[])[];

/** The differences of a step that starts at m_0. */
function multistepDifferences([first, second, third]: readonly number[], h: number): Differences {
  if (second === undefined) return [[1]];
  const r0 = (first! - second) / h;
  if (third === undefined)
    return [
      [1, 0],
      [1 / r0, -1 / r0],
    ];
  const r1 = (second - third) / h;
  const newer = [1 / r0, -1 / r0, 0];
  const older = [0, 1 / r1, -1 / r1];
  const change = newer.map((weight, i) => (weight - older[i]!) / (r0 + r1));
  return [[1, 0, 0], newer.map((weight, i) => weight + r0 * change[i]!), change];
}

/** The differences of a step that starts at the oldest output. */
function singlestepDifferences(lambdas: readonly number[], h: number, { solver_type }: DPMSolverConfig): Differences {
  const base = lambdas.at(-1)!;
  const r0 = (lambdas[0]! - base) / h;
  if (lambdas.length === 2)
    return [
      [0, 1],
      [1 / r0, -1 / r0],
    ];
  const far = [1 / r0, 0, -1 / r0];
  if (solver_type === 'midpoint') return [[0, 0, 1], far];
  const r1 = (lambdas[1]! - base) / h;
  const near = [0, 1 / r1, -1 / r1];
  const change = far.map((weight, i) => (weight - near[i]!) / (r0 - r1));
  return [
    [0, 0, 1],
    near.map((weight, i) => (r0 * weight - r1 * far[i]!) / (r0 - r1)),
    change.map((weight) => 2 * weight),
  ];
}

/** The weights of a step's sample, of D_0 (`value`), D_1 (`middle` or `slope`) and D_2 (`curve`), and of its noise. */
interface SolverWeights {
  readonly sample: number;
  readonly value: number;
  /** The weight of D_1 in the midpoint rule of order 2. */
  readonly middle: number;
  readonly slope: number;
  readonly curve: number;
  readonly noise: number;
}

/** Returns the weights of a step that is `h` long in log(√ᾱ / √(1 - ᾱ)). */
type Algorithm = (from: Levels, to: Levels, h: number) => SolverWeights;

const algorithms: Readonly<Record<DPMSolverConfig['algorithm_type'], Algorithm>> = {
  'dpmsolver++': (from, { signal, noise }, h) => {
    const decay = Math.expm1(-h);
    return {
      sample: noise / from.noise,
      value: -signal * decay,
      middle: -0.5 * signal * decay,
      slope: signal * (decay / h + 1),
      curve: -signal * ((decay + h) / h ** 2 - 0.5),
      noise: 0,
    };
  },
  dpmsolver: (from, { signal, noise }, h) => {
    const growth = Math.expm1(h);
    return {
      sample: signal / from.signal,
      value: -noise * growth,
      middle: -0.5 * noise * growth,
      slope: -noise * (growth / h - 1),
      curve: -noise * ((growth - h) / h ** 2 - 0.5),
      noise: 0,
    };
  },
  'sde-dpmsolver++': (from, { signal, noise }, h) => {
    const loss = -Math.expm1(-2 * h);
    return {
      sample: (noise / from.noise) * Math.exp(-h),
      value: signal * loss,
      middle: 0.5 * signal * loss,
      slope: signal * (loss / (-2 * h) + 1),
      curve: signal * ((loss - 2 * h) / (2 * h) ** 2 - 0.5),
      noise: noise * Math.sqrt(loss),
    };
  },
  'sde-dpmsolver': (from, { signal, noise }, h) => {
    const growth = Math.expm1(h);
    return {
      sample: signal / from.signal,
      value: -2 * noise * growth,
      middle: -noise * growth,
      slope: -2 * noise * (growth / h - 1),
      curve: NaN, // There is no third order.
      noise: noise * Math.sqrt(Math.expm1(2 * h)),
    };
  },
};
