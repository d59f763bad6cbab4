import { unitLevels } from './prediction.js';

/** One step of the unified predictor-corrector. */
export interface UnifiedStep {
  /** The noise levels of the known outputs, that of the step's start first; as many as the order. */
  readonly levels: readonly number[];
  /** The noise level after the step. */
  readonly to: number;
  /** Whether the outputs are x_0, or ε. */
  readonly predictsOriginal: boolean;
  /** The paper's B(h): h, or e^h - 1. */
  readonly solverType: 'bh1' | 'bh2';
}

/** The weights of a step's sample and of the outputs, the newest first. */
export interface UnifiedWeights {
  readonly predictor: { readonly sample: number; readonly outputs: readonly number[] };
  /** The weights of the corrector, whose first output is that at the end of the step. */
  readonly corrector: { readonly sample: number; readonly outputs: readonly number[] };
}

/**
 * Returns the weights of UniP and UniC (arXiv 2302.04867, algorithms 1 and 2).
 *
 * Both are a step of order 1 plus B(h) · Σ ρ_i (m_i - m_0) / r_i, with r_i the distance of an output from the step's
 * start in units of the step; ρ solves a Vandermonde system (eq. 9).
 */
export function unifiedWeights({ levels, to, predictsOriginal, solverType }: UnifiedStep): UnifiedWeights {
  const [start, end] = [unitLevels(levels[0]!), unitLevels(to)];
  const h = Math.log(levels[0]!) - Math.log(to);
  const signed = predictsOriginal ? -h : h;
  const growth = Math.expm1(signed);
  const scale = -(predictsOriginal ? end.signal : end.noise);
  const step = solverType === 'bh1' ? signed : growth;
  const distances = levels.slice(1).map((sigma) => (Math.log(levels[0]!) - Math.log(sigma)) / h);
  const moments = momentsOf(signed, growth, step, levels.length);
  const sample = predictsOriginal ? end.noise / start.noise : end.signal / start.signal;
  const weightsOf = (rho: readonly number[], points: readonly number[]) => {
    const slopes = rho.map((value, i) => (scale * step * value) / points[i]!);
    return [scale * growth - slopes.reduce((sum, slope) => sum + slope, 0), ...slopes];
  };
  const predictor = weightsOf(predictorRho(distances, moments), distances);
  const points = [...distances, 1];
  const [newest, ...rest] = weightsOf(levels.length === 1 ? [0.5] : solve(points, moments), points);
  return {
    predictor: { sample, outputs: predictor },
    corrector: { sample, outputs: [rest.at(-1)!, newest!, ...rest.slice(0, -1)] },
  };
}

/** The paper's φ_k(h) · k! h^k / B(h), for k from 1 to the order. */
function momentsOf(signed: number, growth: number, step: number, order: number): readonly number[] {
  const moments: number[] = [];
  let [phi, factorial] = [growth / signed - 1, 1];
  for (let k = 1; k <= order; k++) {
    moments.push((phi * factorial) / step);
    factorial *= k + 1;
    phi = phi / signed - 1 / factorial;
  }
  return moments;
}

/** ρ of the predictor; diffusers and the paper take 1/2 at order 2. */
const predictorRho = (distances: readonly number[], moments: readonly number[]): readonly number[] =>
  distances.length === 1 ? [0.5] : solve(distances, moments.slice(0, distances.length));

/** Solves Σ_i x_i points_i^k = moments_k for k from 0, by elimination: a system of at most 3 unknowns. */
function solve(points: readonly number[], moments: readonly number[]): readonly number[] {
  const rows = moments.map((moment, k) => [...points.map((point) => point ** k), moment]);
  for (let pivot = 0; pivot < rows.length; pivot++) {
    const best = rows.reduce(
      (at, row, i) => (i > pivot && Math.abs(row[pivot]!) > Math.abs(rows[at]![pivot]!) ? i : at),
      pivot,
    );
    [rows[pivot], rows[best]] = [rows[best]!, rows[pivot]!];
    const leading = rows[pivot]!.map((value) => value / rows[pivot]![pivot]!);
    rows[pivot] = leading;
    rows.forEach((row, i) => {
      if (i !== pivot) rows[i] = row.map((value, j) => value - row[pivot]! * leading[j]!);
    });
  }
  return rows.map((row) => row.at(-1)!);
}
