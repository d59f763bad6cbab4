import { elementCount, readValues, type StoredTensor } from '@alignprop/autograd-ext';
import { record } from '@alignprop/autograd-ext/outside';
import type { Tensor } from '@tensorflow/tfjs-core';
import type { DoraAxis } from './dora.js';
import { list } from './modules.js';
import type { WeightChange } from './weight-change.js';

/** An adapter as read from a file, not yet applied to a model. */
export interface LoraState {
  /** The file, for messages. */
  readonly location?: string;
  /** The adapter of each module. Names of kohya's files have underscores in place of dots. */
  readonly modules: Readonly<Record<string, ModuleAdapter>>;
  /** The parts of a pipeline that the file adapts (`unet`, `text_encoder`); this state is one of them. */
  readonly components?: readonly string[];
}

/** The adapter of one module: low-rank factors, or a change of the module's own weights. */
export type ModuleAdapter = LowRankAdapter | MergedAdapter;

/** LoRA or DoRA: W + (α/r)·B·A, with DoRA m·V/|V|. */
export interface LowRankAdapter {
  readonly kind: 'lora' | 'dora';
  /** A, `[r, in]` or `[r, in, kh, kw]`; undefined where the file lacks it. */
  readonly a?: Tensor | StoredTensor;
  /** B, `[out, r]` or `[out, r, 1, 1]`; undefined where the file lacks it. */
  readonly b?: Tensor | StoredTensor;
  readonly alpha: number;
  /** DoRA's m, one number for each output (`[out]`, `[out, 1]`, `[1, out, 1, 1]`, …) or input. */
  readonly magnitude?: { readonly vector: Tensor | StoredTensor; readonly axis: DoraAxis };
  /** The change of W before the adapter is added, of adapters that were initialised from W. */
  readonly baseChange?: WeightChange;
  /** The change of the module's bias; such an adapter cannot be trained. */
  readonly bias?: WeightChange;
}

/** Any other kind: it is added to the module's weight and bias, and cannot be trained. */
export interface MergedAdapter {
  readonly kind: 'merged';
  readonly weight?: WeightChange;
  readonly bias?: WeightChange;
  /** The change of the bias of modules that have one. */
  readonly biasIfAny?: WeightChange;
}

/** Returns the tensors of an adapter by the paths that `loraTensors` gives them: A, B and, with DoRA, m `[out]`. */
export function stateTensors({ modules }: LoraState): Record<string, Tensor | StoredTensor> {
  const tensors = record<Tensor | StoredTensor>();
  for (const [module, adapter] of Object.entries(modules)) {
    if (adapter.kind === 'merged') continue;
    if (adapter.a) tensors[`${module}.lora_A.weight`] = adapter.a;
    if (adapter.b) tensors[`${module}.lora_B.weight`] = adapter.b;
    if (adapter.magnitude) tensors[`${module}.lora_magnitude_vector`] = flat(adapter.magnitude.vector);
  }
  return tensors;
}

/** Returns what an adapter is besides factors A and B, and m; undefined if it is nothing else. */
export function factorsProblem(adapter: ModuleAdapter): string | undefined {
  if (adapter.kind === 'merged') return 'is no low-rank adapter (LoRA, LoCon or DoRA)';
  if (adapter.baseChange) return 'was made for changed weights';
  if (adapter.bias) return 'also changes the bias';
  return undefined;
}

/**
 * Checks that `saveLora` can write what `applyLora` makes of an adapter: it writes factors alone.
 * @throws one error with every module of another kind, such as LoHa, or that also changes the bias or the weights below
 */
export function checkWritable({ modules, location }: LoraState): void {
  const problems = Object.entries(modules).flatMap(([name, adapter]) => {
    const problem = factorsProblem(adapter);
    return problem ? [`${name} ${problem}`] : [];
  });
  if (problems.length > 0)
    throw new Error(
      `checkWritable: no format can hold ${location ?? 'the adapter'}: ${list(problems, 3)}. ` +
        'Keep the file as it is, it can be applied.',
    );
}

/** Returns m as a layer has it, with one axis; peft's files have [1, out, 1, 1] for convolutions. */
const flat = (vector: Tensor | StoredTensor): Tensor | StoredTensor =>
  vector.shape.length === 1
    ? vector
    : { shape: [elementCount(vector.shape)], dtype: 'F32', read: () => readValues(vector) };
