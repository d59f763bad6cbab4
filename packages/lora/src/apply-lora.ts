import {
  flatten,
  isLinearMap,
  mapLeaves,
  readValues,
  type Leaf,
  type Params,
  type StoredTensor,
} from '@alignprop/autograd-ext';
import { tensor, type Tensor } from '@tensorflow/tfjs-core';
import { asVariable } from './add-lora.js';
import { underscoredPath } from './layouts/kohya.js';
import { LoraLinear } from './lora-linear.js';
import type { LoraState } from './lora-state.js';
import { list, moduleOf, weightOf } from './modules.js';

/**
 * Applies an adapter that was read from a file to a model. Returns a new tree that shares the weights of the given one.
 * A and B are copies that belong to the caller: `dispose(loraTensors(params))` frees them.
 * @param options.scale multiplies the adapter's own α/r; any finite number, 0 switches the adapter off
 * @param options.trainable makes A and B `tf.Variable`s, to continue training
 * @throws one error with every module that is not in the tree, already has an adapter, is not linear, lacks A or B, or
 *   has other shapes
 */
export async function applyLora(
  params: Params,
  state: LoraState,
  { scale = 1, trainable = false }: { scale?: number; trainable?: boolean } = {},
): Promise<Params> {
  if (!Number.isFinite(scale)) throw new Error(`applyLora: scale got ${scale}, expected a finite number.`);
  const matched = matchModules(flatten(params), state);
  // All reads come before the first tensor, so that a failing read leaks no tensor.
  const values: (readonly [Values, Values])[] = [];
  for (const { a, b } of matched) values.push([await readValues(a), await readValues(b)]);
  const createFactor = (value: Values, shape: readonly number[]): Tensor => {
    const create = () => tensor(value, [...shape], 'float32');
    return trainable ? asVariable(create) : create();
  };
  const adapters = new Map(
    matched.map(({ path, base, a, b, alpha }, i) => {
      const [valuesA, valuesB] = values[i]!;
      return [
        path,
        new LoraLinear(
          base,
          createFactor(valuesA, a.shape),
          createFactor(valuesB, b.shape),
          (scale * alpha) / a.shape[0]!,
        ),
      ];
    }),
  );
  return mapLeaves(params, (path, leaf) => adapters.get(path) ?? leaf);
}

type Matrix = Tensor | StoredTensor;
type Values = Float32Array | Int32Array;

/** A module of the adapter and the weight of the model that it adapts. */
interface MatchedModule {
  readonly path: string;
  readonly base: Matrix;
  readonly a: Matrix;
  readonly b: Matrix;
  readonly alpha: number;
}

/** Finds the weight of every module of the adapter. @throws one error with all that do not fit */
function matchModules(leaves: Readonly<Record<string, Leaf>>, { tensors, config, alphas }: LoraState): MatchedModule[] {
  const modules = new Set(Object.keys(tensors).map((key) => key.replace(/\.lora_[AB]\.weight$/, '')));
  const findWeights = weightFinder(leaves);
  const problems: string[] = [];
  const matched: MatchedModule[] = [];
  for (const module of modules) {
    const paths = findWeights(module);
    const [a, b] = [tensors[`${module}.lora_A.weight`], tensors[`${module}.lora_B.weight`]];
    const problem = findProblem(paths, leaves, a, b);
    if (problem) problems.push(`${module}: ${problem}`);
    else
      matched.push({
        path: paths[0]!,
        base: leaves[paths[0]!] as Matrix,
        a: a!,
        b: b!,
        alpha: alphas?.[module] ?? config.loraAlpha,
      });
  }
  if (problems.length === 0 && modules.size > 0) return matched;
  const reason = problems.length
    ? `${problems.length} of ${modules.size} modules do not fit: ${list(problems)}`
    : 'the adapter is empty';
  throw new Error(`applyLora: ${reason}. Use an adapter made for this model.`);
}

/**
 * Returns a function from the name of a module to the paths of the weights that it can mean: that of the module itself
 * or, for a name of kohya's, of all modules with this underscored path.
 */
function weightFinder(leaves: Readonly<Record<string, Leaf>>): (module: string) => readonly string[] {
  const byName = new Map<string, string[]>();
  for (const path of Object.keys(leaves)) {
    if (path !== weightOf(moduleOf(path))) continue;
    const name = underscoredPath(moduleOf(path));
    byName.set(name, [...(byName.get(name) ?? []), path]);
  }
  return (module) => (leaves[weightOf(module)] ? [weightOf(module)] : (byName.get(module) ?? []));
}

function findProblem(
  paths: readonly string[],
  leaves: Readonly<Record<string, Leaf>>,
  a?: Matrix,
  b?: Matrix,
): string | undefined {
  if (paths.length === 0) return 'not in the model';
  if (paths.length > 1) return `can mean ${paths.map(moduleOf).join(' or ')}`;
  const base = leaves[paths[0]!]!;
  if (isLinearMap(base)) return 'adapted already, remove or fuse that adapter first';
  if (base.shape.length !== 2) return `not linear (weight [${base.shape}]), and only linear modules can be adapted`;
  if (!a || !b) return `lacks ${a ? 'B' : 'A'}`;
  const [out, size] = base.shape;
  const fits =
    a.shape.length === 2 &&
    b.shape.length === 2 &&
    a.shape[1] === size &&
    b.shape[0] === out &&
    a.shape[0] === b.shape[1];
  return fits ? undefined : `A [${a.shape}] and B [${b.shape}] got, expected [r, ${size}] and [${out}, r]`;
}
