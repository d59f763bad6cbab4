import { add, dispose, div, mul, sqrt, square, sub, tidy, zerosLike, type Tensor, type Variable } from '@tensorflow/tfjs-core';
import type { Gradients } from './clip-by-global-norm.js';

export interface AdamWOptions {
  learningRate?: number;
  beta1?: number;
  beta2?: number;
  epsilon?: number;
  weightDecay?: number;
}

/** What AdamW remembers between steps, by parameter path; the names are those of torch's optimizer state. */
export interface AdamWState {
  readonly step: number;
  readonly exp_avg: Readonly<Record<string, Tensor>>;
  readonly exp_avg_sq: Readonly<Record<string, Tensor>>;
}

/**
 * One step of AdamW (arXiv 1711.05101, algorithm 2), in the order of `torch.optim.AdamW`: the weights decay first, and epsilon is
 * added to the bias-corrected root. Pure: `parameters` and `state` stay as they are; the caller owns what is returned.
 */
export function updateAdamW(
  parameters: Readonly<Record<string, Tensor>>,
  gradients: Gradients,
  state: AdamWState,
  { learningRate = 1e-3, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weightDecay = 1e-2 }: AdamWOptions = {},
): { parameters: Record<string, Tensor>; state: AdamWState } {
  const step = state.step + 1;
  const stepSize = learningRate / (1 - beta1 ** step);
  const correction = Math.sqrt(1 - beta2 ** step);
  return tidy(() => {
    const exp_avg = mapValues(gradients, (g, name) => add(state.exp_avg[name]!, mul(sub(g, state.exp_avg[name]!), 1 - beta1)));
    const exp_avg_sq = mapValues(gradients, (g, name) => add(mul(state.exp_avg_sq[name]!, beta2), mul(square(g), 1 - beta2)));
    const moved = mapValues(parameters, (parameter, name) => {
      const denominator = add(div(sqrt(exp_avg_sq[name]!), correction), epsilon);
      return sub(mul(parameter, 1 - learningRate * weightDecay), mul(div(exp_avg[name]!, denominator), stepSize));
    });
    const next: TidyState = { step, exp_avg, exp_avg_sq };
    return { parameters: moved, state: next };
  });
}

// tidy wants type aliases: interfaces have no index signature.
type TidyState = { step: number; exp_avg: Record<string, Tensor>; exp_avg_sq: Record<string, Tensor> };

/** AdamW on variables: what is trained, and what the optimizer remembers of it. Not to be used inside a `tidy`. */
export class AdamW {
  #state: AdamWState;

  constructor(
    readonly variables: Readonly<Record<string, Variable>>,
    readonly options: AdamWOptions = {},
  ) {
    const zeros = () => mapValues(variables, (variable) => zerosLike(variable));
    this.#state = { step: 0, exp_avg: zeros(), exp_avg_sq: zeros() };
  }

  get state(): AdamWState {
    return this.#state;
  }

  /** Moves every variable. All new values exist before the first variable changes. */
  step(gradients: Gradients): void {
    const { parameters, state } = updateAdamW(this.variables, gradients, this.#state, this.options);
    for (const [name, variable] of Object.entries(this.variables)) variable.assign(parameters[name]!);
    dispose(parameters);
    this.restore(state);
  }

  /** Takes over a state, its tensors included. */
  restore(state: AdamWState): void {
    this.dispose();
    this.#state = state;
  }

  dispose(): void {
    dispose([this.#state.exp_avg, this.#state.exp_avg_sq]);
  }
}

const mapValues = <A, B>(record: Readonly<Record<string, A>>, fn: (value: A, name: string) => B): Record<string, B> =>
  Object.fromEntries(Object.entries(record).map(([name, value]) => [name, fn(value, name)]));
