/**
 * Mean and variance of a stream of numbers in float64, every number with the same weight. Adds batches by the formula
 * of Chan, Golub and LeVeque (1979).
 */
export class RunningStatistics {
  #count = 0;
  #mean = 0;
  /** Σ (x - mean)² */
  #squares = 0;

  /** The mean; 0 before the first number. */
  get mean(): number {
    return this.#mean;
  }

  /** The variance of the population (ddof 0); 1 before the second number. */
  get variance(): number {
    return this.#count < 2 ? 1 : this.#squares / this.#count;
  }

  add(values: ArrayLike<number>): void {
    const list = Array.from(values);
    if (list.length === 0) return;
    const mean = list.reduce((sum, value) => sum + value, 0) / list.length;
    const squares = list.reduce((sum, value) => sum + (value - mean) ** 2, 0);
    const count = this.#count + list.length;
    const shift = mean - this.#mean;
    this.#squares += squares + (shift ** 2 * this.#count * list.length) / count;
    this.#mean += (shift * list.length) / count;
    this.#count = count;
  }

  state(): StatisticsState {
    return { count: this.#count, mean: this.#mean, squares: this.#squares };
  }

  restore({ count, mean, squares }: StatisticsState): void {
    [this.#count, this.#mean, this.#squares] = [count, mean, squares];
  }
}

/** The state of `RunningStatistics` as JSON. */
export interface StatisticsState {
  readonly count: number;
  readonly mean: number;
  readonly squares: number;
}

/** Returns whether a value from a file is a state of `RunningStatistics`. */
export function isStatisticsState(value: unknown): value is StatisticsState {
  const { count, mean, squares } = (value ?? {}) as Partial<StatisticsState>;
  return Number.isInteger(count) && count! >= 0 && Number.isFinite(mean) && Number.isFinite(squares) && squares! >= 0;
}
