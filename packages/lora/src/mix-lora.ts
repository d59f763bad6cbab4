import { readValues, type StoredTensor } from '@alignprop/autograd-ext';
import type { Tensor } from '@tensorflow/tfjs-core';
import { underscoredPath } from './layouts/kohya.js';
import type { LoraState } from './lora-state.js';
import { lastName, list } from './modules.js';

export const mixModes = ['delta', 'factor'] as const;

/** The quantity that `mixLora` interpolates: the change of the weights (`delta`), or A and B separately (`factor`). */
export type MixMode = (typeof mixModes)[number];

export interface MixOptions {
  /** c, the share of the first adapter: any finite number, between 0 and 1 to interpolate. 0.5 by default. */
  coefficient?: number;
  mode?: MixMode;
}

/**
 * Mixes two adapters of one model, such as those of two rewards, into one.
 * - `delta`, the default: ΔW = c·ΔW₁ + (1 - c)·ΔW₂, exactly. The rank of the result is the sum of the two ranks, which
 *   may differ.
 * - `factor`: A = c·A₁ + (1 - c)·A₂ and B likewise, as AlignProp's authors do. Since ΔW = B·A, the result is
 *   c²·ΔW₁ + (1 - c)²·ΔW₂ plus the mixed terms c(1 - c)·(B₁·A₂ + B₂·A₁), which are meaningful only if both runs started
 *   from the same A. Ranks and scales must be equal.
 *
 * A module that only one of them adapts has ΔW = 0 (or A = B = 0) in the other.
 * @param second undefined for the model without an adapter: `delta` gives c·ΔW₁, `factor` c²·ΔW₁
 * @returns a state whose values are computed when they are read, from those of the two given states
 * @throws one error with every module whose shapes or, for `factor`, ranks or scales differ
 */
export function mixLora(
  first: LoraState,
  second: LoraState | undefined,
  { coefficient = 0.5, mode = 'delta' }: MixOptions = {},
): LoraState {
  if (!Number.isFinite(coefficient))
    throw new Error(`mixLora: coefficient got ${coefficient}, expected a finite number.`);
  if (!mixModes.includes(mode))
    throw new Error(`mixLora: mode got '${mode as string}', expected ${mixModes.join(' or ')}.`);
  const modules1 = readModules(first);
  const modules2 = second ? readModules(second) : new Map<string, Module>();
  const names = [...new Set([...modules1.keys(), ...modules2.keys()])];
  const pairs = names.map((name): Pair => [modules1.get(name), modules2.get(name)]);
  const problems = pairs.flatMap(([one, two]) => (one && two ? (mismatch(one, two, mode) ?? []) : []));
  if (problems.length > 0)
    throw new Error(
      `mixLora: the adapters do not go together: ${list(problems)}.${mode === 'factor' ? " Try mode 'delta'." : ''}`,
    );
  const mixed = pairs.map((pair) => (mode === 'delta' ? mixDeltas(pair, coefficient) : mixFactors(pair, coefficient)));
  return toState(mixed, [...new Set([...(first.components ?? []), ...(second?.components ?? [])])]);
}

type Matrix = Tensor | StoredTensor;

/** An adapted module: ΔW = (alpha / r)·B·A. */
interface Module {
  readonly name: string;
  readonly a: Matrix; // [r, in]
  readonly b: Matrix; // [out, r]
  readonly alpha: number;
}

type Pair = readonly [Module | undefined, Module | undefined];

/** Returns the modules of an adapter by their underscored path, which all layouts of files have in common. */
function readModules({ tensors, config, alphas }: LoraState): Map<string, Module> {
  const names = Object.keys(tensors).flatMap((key) => /^(.*)\.lora_A\.weight$/.exec(key)?.[1] ?? []);
  const lacking = names.filter((name) => !tensors[`${name}.lora_B.weight`]);
  if (lacking.length > 0) throw new Error(`mixLora: ${list(lacking)} got A without B. The file is not complete.`);
  const read = (name: string): Module => ({
    name,
    a: tensors[`${name}.lora_A.weight`]!,
    b: tensors[`${name}.lora_B.weight`]!,
    alpha: alphas?.[name] ?? config.loraAlpha,
  });
  return new Map(names.map((name) => [underscoredPath(name), read(name)]));
}

const rank = ({ a }: Module): number => a.shape[0]!;
const scaleOf = (module: Module): number => module.alpha / rank(module);

function mismatch(one: Module, two: Module, mode: MixMode): string | undefined {
  const sizes = [one, two].map(({ a, b }) => `[${b.shape[0]}, ${a.shape[1]}]`);
  if (sizes[0] !== sizes[1]) return `${one.name} has ${sizes.join(' and ')}`;
  if (mode === 'delta' || (rank(one) === rank(two) && scaleOf(one) === scaleOf(two))) return undefined;
  return `${one.name} has ranks ${rank(one)} and ${rank(two)}, scales ${scaleOf(one)} and ${scaleOf(two)}`;
}

/** Stacks A₁ on A₂, and s₁c·B₁ beside s₂(1 - c)·B₂: the product B·A is then the sum. α is the new rank, the scale 1. */
function mixDeltas([one, two]: Pair, coefficient: number): Module {
  const parts = [
    ...(one ? [{ ...one, share: scaleOf(one) * coefficient }] : []),
    ...(two ? [{ ...two, share: scaleOf(two) * (1 - coefficient) }] : []),
  ];
  const ranks = parts.map(rank);
  const alpha = ranks.reduce((sum, r) => sum + r, 0);
  const [size, out] = [parts[0]!.a.shape[1]!, parts[0]!.b.shape[0]!];
  const a = computedTensor([alpha, size], async () => {
    const values = await Promise.all(parts.map((part) => readValues(part.a)));
    return Float32Array.from(values.flatMap((part) => [...part]));
  });
  const b = computedTensor([out, alpha], async () => {
    const values = await Promise.all(parts.map((part) => readValues(part.b)));
    const rows = Array.from({ length: out }, (_, row) =>
      values.flatMap((part, i) =>
        [...part.subarray(row * ranks[i]!, (row + 1) * ranks[i]!)].map((value) => value * parts[i]!.share),
      ),
    );
    return Float32Array.from(rows.flat());
  });
  return { name: dottedName(one, two), a, b, alpha };
}

function mixFactors([one, two]: Pair, coefficient: number): Module {
  const mix = (part: 'a' | 'b'): StoredTensor =>
    computedTensor((one ?? two)![part].shape, async () => {
      const [x, y] = await Promise.all([one && readValues(one[part]), two && readValues(two[part])]);
      return Float32Array.from((x ?? y)!, (_, i) => coefficient * (x?.[i] ?? 0) + (1 - coefficient) * (y?.[i] ?? 0));
    });
  return { name: dottedName(one, two), a: mix('a'), b: mix('b'), alpha: (one ?? two)!.alpha };
}

/** Returns the path of a module. kohya's files have no dots in it: prefers the name with the most dots. */
const dottedName = (...[one, two]: Pair): string =>
  [one, two].flatMap((module) => module?.name ?? []).toSorted((x, y) => y.split('.').length - x.split('.').length)[0]!;

const computedTensor = (shape: readonly number[], read: () => Promise<Float32Array>): StoredTensor => ({
  shape,
  dtype: 'F32',
  read,
});

function toState(modules: readonly Module[], components: readonly string[]): LoraState {
  if (modules.length === 0) throw new Error('mixLora: both adapters are empty.');
  return {
    config: {
      r: rank(modules[0]!),
      loraAlpha: modules[0]!.alpha,
      targetModules: [...new Set(modules.map(({ name }) => lastName(name)))],
    },
    tensors: Object.fromEntries(
      modules.flatMap(({ name, a, b }) => [
        [`${name}.lora_A.weight`, a],
        [`${name}.lora_B.weight`, b],
      ]),
    ),
    alphas: Object.fromEntries(modules.map(({ name, alpha }) => [name, alpha])),
    components,
  };
}
