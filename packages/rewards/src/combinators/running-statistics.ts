/**
 * Mean and variance of numbers that arrive in batches, all with the same weight, in float64 (Chan, Golub and LeVeque
 * 1979).
 */
export class RunningStatistics {
  #count = 0;
  #mean = 0;
  /** Σ (x - mean)². */
  #squares = 0;

  /** 0 before there is any number. */
  get mean(): number {
    return this.#mean;
  }

  /** Of the population (ddof 0); 1 before there are two numbers. */
  get variance(): number {
    return this.#count < 2 ? 1 : this.#squares / this.#count;
  }

  add(values: ArrayLike<number>): void {
    const list = Array.from(values);
    if (list.length === 0) return;
    const mean = list.reduce((sum, value) => sum + value, 0) / list.length;
    const squares = list.reduce((sum, value) => sum + (value - mean) ** 2, 0);
    const count = this.#count + list.length;
    const apart = mean - this.#mean;
    this.#squares += squares + (apart ** 2 * this.#count * list.length) / count;
    this.#mean += (apart * list.length) / count;
    this.#count = count;
  }

  state(): StatisticsState {
    return { count: this.#count, mean: this.#mean, squares: this.#squares };
  }

  restore({ count, mean, squares }: StatisticsState): void {
    [this.#count, this.#mean, this.#squares] = [count, mean, squares];
  }
}

export interface StatisticsState {
  readonly count: number;
  readonly mean: number;
  readonly squares: number;
}

/** Whether a value from a file is such a state. */
export function isStatisticsState(value: unknown): value is StatisticsState {
  const { count, mean, squares } = (value ?? {}) as Partial<StatisticsState>;
  return Number.isInteger(count) && count! >= 0 && Number.isFinite(mean) && Number.isFinite(squares) && squares! >= 0;
}
