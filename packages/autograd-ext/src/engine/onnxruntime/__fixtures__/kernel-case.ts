import type { Tensor } from '@tensorflow/tfjs-core';

/** An input of a case: its shape and the distribution of its values. */
export interface CaseInput {
  readonly shape: readonly number[];
  /**
   * Normal by default; `positive` and `unit` lie in (0.3, 2) and (-0.9, 0.9), `above` in (1.1, 3); `special` has NaN
   * and infinities.
   */
  readonly values?: 'positive' | 'unit' | 'above' | 'special' | readonly number[] | undefined;
  readonly dtype?: 'int32' | 'bool';
}

/** An op with inputs whose recording is compared with tfjs. */
export interface KernelCase {
  readonly name: string;
  readonly inputs: readonly CaseInput[];
  readonly op: (...xs: any[]) => Tensor | readonly Tensor[];
  /** An equivalent op for tfjs's backends, if they lack the kernel. */
  readonly eager?: (...xs: any[]) => Tensor;
  /** Indices of the inputs to differentiate; by default those of dtype float32. */
  readonly wrt?: readonly number[];
  /** Largest error allowed, relative to the largest value. */
  readonly tolerance?: number;
  /** The step of finite differences. */
  readonly step?: number;
  /** tfjs backends that lack the op or compute it wrongly, and devices of ONNX Runtime that refuse it or are coarse. */
  readonly without?: readonly ('wasm' | 'cpu' | 'tensorflow' | 'webgpu')[];
}

type Options = Omit<KernelCase, 'name' | 'inputs' | 'op'>;
type Shape = readonly number[];

export const float = (shape: Shape, values?: CaseInput['values']): CaseInput => ({ shape, values });
export const int = (shape: Shape, values?: readonly number[]): CaseInput => ({ shape, values, dtype: 'int32' });
export const bool = (shape: Shape): CaseInput => ({ shape, dtype: 'bool' });
export const entry = (
  name: string,
  inputs: readonly (CaseInput | Shape)[],
  op: KernelCase['op'],
  options: Options = {},
): KernelCase => ({
  name,
  inputs: inputs.map((input) => ('shape' in input ? input : float(input))),
  op,
  ...options,
});
export const none = { wrt: [] };

/** Lists functions with their names. */
export const named = <T extends object>(functions: T): [string, any][] => Object.entries(functions);
