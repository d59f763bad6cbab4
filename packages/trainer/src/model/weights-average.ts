import { add, dispose, mul, tidy, type Tensor, type Variable } from '@tensorflow/tfjs-core';

/**
 * An exponential moving average of trained weights: avg ← d·avg + (1 - d)·w after every optimizer step, with d = 0
 * after the first step and d = min(decay, n / (9 + n)) after step n > 1, as diffusers' `EMAModel`. The ramp lets a
 * short run forget its initial weights.
 */
export class WeightsAverage {
  readonly #variables: Readonly<Record<string, Variable>>;
  readonly #decay: number;
  #values: Record<string, Tensor>;

  /** @param decay in [0, 1) */
  constructor(variables: Readonly<Record<string, Variable>>, decay: number) {
    this.#variables = variables;
    this.#decay = decay;
    this.#values = copies(variables);
  }

  /** The averages by parameter path; they stay this object's. */
  get values(): Readonly<Record<string, Tensor>> {
    return this.#values;
  }

  /** Averages in the weights after a step. @param steps optimizer steps taken, including the one just taken */
  update(steps: number): void {
    const decay = steps <= 1 ? 0 : Math.min(this.#decay, steps / (9 + steps));
    const moved = ([path, average]: [string, Tensor]) =>
      [path, tidy(() => add(mul(average, decay), mul(this.#variables[path]!, 1 - decay)))] as const;
    this.#replace(Object.fromEntries(Object.entries(this.#values).map(moved)));
  }

  /** Replaces the averages by copies of the given values; by default of the trained weights. */
  load(values: Readonly<Record<string, Tensor>> = this.#variables): void {
    this.#replace(copies(values));
  }

  /** Calls a function while the variables hold the average, and restores their values however it ends. */
  async during<T>(run: () => Promise<T>): Promise<T> {
    const trained = copies(this.#variables);
    try {
      this.#assign(this.#values);
      return await run();
    } finally {
      this.#assign(trained);
      dispose(trained);
    }
  }

  dispose(): void {
    this.#replace({});
  }

  #assign(values: Readonly<Record<string, Tensor>>): void {
    for (const [path, variable] of Object.entries(this.#variables)) variable.assign(values[path]!);
  }

  #replace(values: Record<string, Tensor>): void {
    dispose(this.#values);
    this.#values = values;
  }
}

/** Copies without copying memory: a variable that is assigned to takes new memory. */
const copies = (values: Readonly<Record<string, Tensor>>): Record<string, Tensor> =>
  Object.fromEntries(Object.entries(values).map(([path, value]) => [path, value.clone()]));
