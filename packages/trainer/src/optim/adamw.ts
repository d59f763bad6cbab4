import {
  add,
  dispose,
  div,
  mul,
  sqrt,
  square,
  sub,
  tensor,
  tidy,
  zerosLike,
  type Tensor,
  type Variable,
} from '@tensorflow/tfjs-core';
import type { StoredTensor } from '@alignprop/autograd-ext';
import type { Gradients } from './gradients.js';
import type { Optimizer } from './optimizer.js';

export interface AdamWOptions {
  learningRate?: number;
  beta1?: number;
  beta2?: number;
  epsilon?: number;
  weightDecay?: number;
}

/** The state of AdamW: step count and moments by parameter path, with the names of torch's optimizer state. */
export interface AdamWState {
  readonly step: number;
  readonly exp_avg: Readonly<Record<string, Tensor>>;
  readonly exp_avg_sq: Readonly<Record<string, Tensor>>;
}

/**
 * One step of AdamW (arXiv 1711.05101, algorithm 2), in the order of `torch.optim.AdamW`: the weights decay first, and
 * epsilon is added to the bias-corrected root. Pure: it changes neither `parameters` nor `state`; the result belongs to
 * the caller.
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
    const exp_avg = mapValues(gradients, (g, name) =>
      add(state.exp_avg[name]!, mul(sub(g, state.exp_avg[name]!), 1 - beta1)),
    );
    const exp_avg_sq = mapValues(gradients, (g, name) =>
      add(mul(state.exp_avg_sq[name]!, beta2), mul(square(g), 1 - beta2)),
    );
    const moved = mapValues(parameters, (parameter, name) => {
      const denominator = add(div(sqrt(exp_avg_sq[name]!), correction), epsilon);
      return sub(mul(parameter, 1 - learningRate * weightDecay), mul(div(exp_avg[name]!, denominator), stepSize));
    });
    const next: TidyState = { step, exp_avg, exp_avg_sq };
    return { parameters: moved, state: next };
  });
}

// A type alias, because tidy takes no interfaces: they have no index signature.
type TidyState = { step: number; exp_avg: Record<string, Tensor>; exp_avg_sq: Record<string, Tensor> };

const moments = ['exp_avg', 'exp_avg_sq'] as const;

/** AdamW on variables, whose moments it owns. Do not use it inside a `tidy`. */
export class AdamW implements Optimizer {
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

  get steps(): number {
    return this.#state.step;
  }

  get bytes(): number {
    return Object.values(this.variables).reduce((sum, { size }) => sum + moments.length * 4 * size, 0);
  }

  /** Moves every variable. All new values are computed before the first variable changes. */
  step(gradients: Gradients, learningRate = this.options.learningRate): void {
    const { parameters, state } = updateAdamW(this.variables, gradients, this.#state, {
      ...this.options,
      learningRate,
    });
    for (const [name, variable] of Object.entries(this.variables)) variable.assign(parameters[name]!);
    dispose(parameters);
    this.restore(state);
  }

  save(): Record<string, Tensor> {
    return Object.fromEntries(
      moments.flatMap((moment) =>
        Object.entries(this.#state[moment]).map(([path, value]) => [`${moment}.${path}`, value]),
      ),
    );
  }

  async load(step: number, stored: Readonly<Record<string, StoredTensor>>): Promise<void> {
    const read = async ([path, { shape }]: [string, Variable], moment: string) =>
      [path, await stored[`${moment}.${path}`]!.read(), shape] as const;
    const [first, second] = await Promise.all(
      moments.map((moment) => Promise.all(Object.entries(this.variables).map((entry) => read(entry, moment)))),
    );
    const tensors = (values: NonNullable<typeof first>) =>
      Object.fromEntries(values.map(([path, data, shape]) => [path, tensor(data, shape, 'float32')]));
    this.restore({ step, exp_avg: tensors(first!), exp_avg_sq: tensors(second!) });
  }

  /** Replaces the state and takes ownership of its tensors. */
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
