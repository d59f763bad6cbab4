import { elementCount, readValues, type StoredTensor, checkOptions } from '@alignprop/autograd-ext';
import type { Tensor } from '@tensorflow/tfjs-core';
import { underscoredPath } from './layouts/kohya.js';
import { factorsProblem, type LoraState, type LowRankAdapter, type ModuleAdapter } from './lora-state.js';
import { list } from './modules.js';

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
 * @throws one error with every module that is no plain LoRA, or whose shapes or, for `factor`, ranks or scales differ
 */
export function mixLora(
  first: LoraState,
  second: LoraState | undefined,
  { coefficient = 0.5, mode = 'delta', ...others }: MixOptions = {},
): LoraState {
  checkOptions('mixLora', others, ['coefficient', 'mode']);
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
  readonly a: Matrix; // [r, in] or [r, in, kh, kw]
  readonly b: Matrix; // [out, r] or [out, r, 1, 1]
  readonly alpha: number;
}

type Pair = readonly [Module | undefined, Module | undefined];

/** Returns the modules of an adapter by their underscored path, which all layouts of files have in common. */
function readModules({ modules, location = 'the adapter' }: LoraState): Map<string, Module> {
  const entries = Object.entries(modules);
  const problems = entries.flatMap(([name, adapter]) => {
    const problem = unmixable(adapter);
    return problem ? [`${name} ${problem}`] : [];
  });
  if (problems.length > 0)
    throw new Error(`mixLora: cannot mix ${location}: ${list(problems, 3)}. Mix adapters that are LoRA or LoCon.`);
  return new Map(
    entries.map(([name, adapter]) => {
      const { a, b, alpha } = adapter as LowRankAdapter;
      return [underscoredPath(name), { name, a: a!, b: b!, alpha }];
    }),
  );
}

/** Returns why an adapter cannot be mixed; undefined if it can. */
function unmixable(adapter: ModuleAdapter): string | undefined {
  if (adapter.kind === 'dora') return 'is DoRA, whose change is no product of two matrices';
  const { a, b } = adapter as LowRankAdapter;
  return factorsProblem(adapter) ?? (a && b ? undefined : `has ${a ? 'A without B' : 'B without A'}`);
}

const rank = ({ a }: Module): number => a.shape[0]!;
const scaleOf = (module: Module): number => module.alpha / rank(module);

function mismatch(one: Module, two: Module, mode: MixMode): string | undefined {
  const sizes = [one, two].map(({ a, b }) => `[${[b.shape[0], ...a.shape.slice(1)]}]`);
  const counts = [one, two].map(({ a, b }) => `${b.shape[0]} ${elementCount(a.shape.slice(1))}`);
  if (counts[0] !== counts[1]) return `${one.name} has ${sizes.join(' and ')}`;
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
  const [, ...inputs] = parts[0]!.a.shape;
  const [out, , ...ones] = parts[0]!.b.shape as [number, number, ...number[]];
  const a = computedTensor([alpha, ...inputs], async () => {
    const values = await Promise.all(parts.map((part) => readValues(part.a)));
    return Float32Array.from(values.flatMap((part) => [...part]));
  });
  const b = computedTensor([out, alpha, ...ones], async () => {
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
  const adapters = modules.map(({ name, ...factors }) => [name, { kind: 'lora', ...factors }] as const);
  return { modules: Object.fromEntries(adapters), components };
}
