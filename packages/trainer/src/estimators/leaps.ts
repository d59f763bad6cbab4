import { roundHalfEven } from '@alignprop/diffusion';
import type { Pair } from './draws.js';
import { chainPlan, type DrawnPlan, type Leap, type PlannedChain, type StepPlan } from './plans.js';
import { straightPath, type StraightPath } from './straight-path.js';

export interface LeapOptions {
  /** The number of predictions that a leap is interpolated from: 1 is a straight line. */
  readonly order: number;
  /** α: the share of the gradient that passes through the model's input at j. */
  readonly coupling: number;
  /** Multiplies the weight of the second prediction of each leap, the only other one that trains. */
  readonly otherWeight: number;
  /** τ: the least distance that an image's part of the loss is divided by. */
  readonly floor: number;
}

/** The plan of two leaps k → j → end (arXiv 2606.11075, FlowBP-Lagrange; order 1: arXiv 2604.15311, LeapAlign). */
export function leapPlan(chain: PlannedChain, [k, j]: Pair, options: LeapOptions): DrawnPlan {
  const path = straightPath(chain);
  const leaps = [leap(path, k, j, options.order), leap(path, j, chain.steps, options.order)];
  const entered = new Map<number, StepPlan>();
  for (const { start, weights } of leaps)
    for (const [m, weight] of weights.slice(0, 2)) {
      const factor = (weight / path.increments[m]!) * (m === start ? 1 : options.otherWeight);
      entered.set(m, { weight: factor, coupling: m === j ? options.coupling * factor : 0 });
    }
  return { ...chainPlan(chain, entered), distances: { leaps, floor: options.floor } };
}

/** A leap whose weights are the integrals of the Lagrange polynomials through its predictions. */
function leap(path: StraightPath, start: number, end: number, order: number): Leap {
  const steps = supports(start, end, order);
  const points = steps.map((step) => path.positions[step]!);
  const bounds = [path.positions[start]!, path.positions[end]!] as const;
  return { start, end, weights: steps.map((step, i) => [step, lagrangeIntegral(points, i, bounds)]) };
}

/** About `order` evenly spaced steps of [start, end), the first of them always. */
function supports(start: number, end: number, order: number): readonly number[] {
  const length = end - start;
  if (length <= order) return Array.from({ length }, (_, i) => start + i);
  if (order === 1) return [start];
  return Array.from({ length: order }, (_, i) => start + roundHalfEven((i * (length - 1)) / (order - 1)));
}

/** The integral of the Lagrange polynomial that is 1 at point i and 0 at the other points. */
function lagrangeIntegral(points: readonly number[], i: number, [from, to]: readonly [number, number]): number {
  let coefficients = [1]; // of the product of (x - p) / (p_i - p), lowest power first
  for (const point of points.filter((_, other) => other !== i)) {
    const scale = 1 / (points[i]! - point);
    const [shifted, scaled] = [
      [0, ...coefficients],
      [...coefficients, 0],
    ];
    coefficients = shifted.map((value, power) => scale * (value - point * scaled[power]!));
  }
  const integral = (x: number) => coefficients.reduce((sum, c, power) => sum + (c / (power + 1)) * x ** (power + 1), 0);
  return integral(to) - integral(from);
}
