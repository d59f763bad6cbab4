import {
  elementCount,
  flatten,
  isLinearMap,
  mapLeaves,
  readValues,
  type Leaf,
  type Params,
  type StoredTensor,
  checkOptions,
} from '@alignprop/autograd-ext';
import { tensor, type Tensor } from '@tensorflow/tfjs-core';
import { asVariable } from './add-lora.js';
import { LoraLayer } from './lora-layer.js';
import type { LoraState, LowRankAdapter, MergedAdapter, ModuleAdapter } from './lora-state.js';
import { moduleFinder } from './module-finder.js';
import { list, weightOf } from './modules.js';
import { ChangedWeight, type WeightChange } from './weight-change.js';

/**
 * Applies an adapter that was read from a file to a model. Returns a new tree that shares the weights of the given one.
 * LoRA and DoRA become layers of their own (`LoraLayer`), whose tensors are copies that belong to the caller:
 * `dispose(loraTensors(params))` frees them. Other kinds are added to the weights when an engine reads these.
 * @param options.scale multiplies the adapter's own α/r; any finite number, 0 switches the adapter off
 * @param options.trainable makes A, B and m `tf.Variable`s, to continue training
 * @throws one error with every module that is not in the tree, already has an adapter, lacks a part, has other shapes,
 *   or cannot be trained
 */
export async function applyLora(
  params: Params,
  state: LoraState,
  { scale = 1, trainable = false, ...others }: { scale?: number; trainable?: boolean } = {},
): Promise<Params> {
  checkOptions('applyLora', others, ['scale', 'trainable']);
  if (!Number.isFinite(scale)) throw new Error(`applyLora: scale got ${scale}, expected a finite number.`);
  const leaves = flatten(params);
  const matched = matchModules(leaves, state, trainable);
  // All reads come before the first tensor, so that a failing read leaks no tensor.
  const changed = new Map<string, Leaf>();
  const layers: (() => void)[] = [];
  for (const { module, adapter } of matched) {
    if (adapter.kind === 'merged') {
      for (const [path, change] of changesOf(leaves, module, adapter))
        changed.set(path, new ChangedWeight(leaves[path] as Weight, change, scale));
      continue;
    }
    const path = weightOf(module);
    if (adapter.bias)
      changed.set(biasOf(module), new ChangedWeight(leaves[biasOf(module)] as Weight, adapter.bias, scale));
    const create = await readLayer(leaves[path] as Weight, adapter, { scale, trainable });
    layers.push(() => void changed.set(path, create()));
  }
  for (const create of layers) create();
  return mapLeaves(params, (path, leaf) => changed.get(path) ?? leaf);
}

type Weight = Tensor | StoredTensor;
type Leaves = Readonly<Record<string, Leaf>>;

/** An adapter and the path of the module that it adapts. */
interface MatchedModule {
  readonly module: string;
  readonly adapter: ModuleAdapter;
}

/** Finds the module of every adapter. @throws one error with all that do not fit */
function matchModules(leaves: Leaves, { modules, location }: LoraState, trainable: boolean): MatchedModule[] {
  const findModules = moduleFinder(leaves);
  const problems: string[] = [];
  const matched: MatchedModule[] = [];
  const nameOf = new Map<string, string>();
  const names = Object.keys(modules);
  for (const name of names) {
    const adapter = modules[name]!;
    const found = findModules(name);
    const other = found.length === 1 ? nameOf.get(found[0]!) : undefined;
    const problem = other ? `names the same module as ${other}` : findProblem(leaves, found, adapter, trainable);
    if (found.length === 1) nameOf.set(found[0]!, name);
    if (problem) problems.push(`${name}: ${problem}`);
    else matched.push({ module: found[0]!, adapter });
  }
  if (problems.length === 0 && names.length > 0) return matched;
  const reason = problems.length
    ? `${problems.length} of ${names.length} modules do not fit: ${list(problems, 4)}`
    : 'the adapter is empty';
  const file = location === undefined ? '' : `${location}: `;
  throw new Error(`applyLora: ${file}${reason}.${originOf(modules)} Use an adapter made for this model.`);
}

/** The models whose UNet attends to texts of such a width. */
const modelsByWidth: Readonly<Record<number, string>> = {
  768: 'Stable Diffusion 1.x',
  1024: 'Stable Diffusion 2.x',
  2048: 'SDXL',
};

/** Says which model an adapter seems to be made for, by the width of the texts that its UNet attends to. */
function originOf(modules: LoraState['modules']): string {
  for (const [name, adapter] of Object.entries(modules)) {
    if (adapter.kind === 'merged' || !/attn2[._]to_[kv]$/.test(name)) continue;
    const model = modelsByWidth[adapter.a?.shape[1] ?? 0];
    if (model) return ` It is for ${model}.`;
  }
  return '';
}

function findProblem(
  leaves: Leaves,
  found: readonly string[],
  adapter: ModuleAdapter,
  trainable: boolean,
): string | undefined {
  if (found.length === 0) return 'not in the model';
  if (found.length > 1) return `can mean ${found.join(' or ')}`;
  const module = found[0]!;
  // A file of trained factors would hold neither a bias nor the change of the weights below them.
  const isTrained = adapter.kind !== 'merged' && !adapter.bias && !adapter.baseChange;
  if (trainable && !isTrained) return 'can be applied but not trained; only LoRA and DoRA of unchanged weights can';
  if (adapter.kind !== 'merged')
    return (
      lowRankProblem(leaves[weightOf(module)], adapter) ??
      (adapter.bias && biasProblem(leaves[biasOf(module)], adapter.bias))
    );
  for (const [path, change] of changesOf(leaves, module, adapter)) {
    const problem = changeProblem(leaves[path], change);
    if (problem) return `${path.slice(path.lastIndexOf('.') + 1)}: ${problem}`;
  }
  return undefined;
}

/** The leaves that a merged adapter changes. */
function changesOf(
  leaves: Leaves,
  module: string,
  { weight, bias, biasIfAny }: MergedAdapter,
): [path: string, change: WeightChange][] {
  const changes: [string, WeightChange | undefined][] = [
    [weightOf(module), weight],
    [biasOf(module), bias ?? (leaves[biasOf(module)] && biasIfAny)],
  ];
  return changes.filter((entry): entry is [string, WeightChange] => entry[1] !== undefined);
}

const biasOf = (module: string): string => weightOf(module).replace(/weight$/, 'bias');

function biasProblem(leaf: Leaf | undefined, change: WeightChange): string | undefined {
  const problem = leaf ? changeProblem(leaf, change) : 'the module has none in the model';
  return problem && `bias: ${problem}`;
}

function changeProblem(leaf: Leaf | undefined, change: WeightChange): string | undefined {
  if (!leaf) return 'not in the model';
  if (isLinearMap(leaf)) return 'adapted already, remove or fuse that adapter first';
  return change.misfit(leaf.shape);
}

function lowRankProblem(base: Leaf | undefined, { a, b, magnitude, baseChange }: LowRankAdapter): string | undefined {
  if (!base) return 'has no weight in the model';
  if (isLinearMap(base)) return 'adapted already, remove or fuse that adapter first';
  if (base.shape.length !== 2 && base.shape.length !== 4)
    return `neither linear nor a convolution (weight [${base.shape}])`;
  if (!a || !b) return `lacks ${a ? 'B' : 'A'}`;
  const [out, ...inputs] = base.shape as [number, ...number[]];
  const r = a.shape[0]!;
  if (r === 0) return 'has rank 0';
  // 1×1 kernels and matrices stand for each other: programs that convert between them write either.
  const fits =
    elementCount(a.shape) === r * elementCount(inputs) && b.shape[0] === out && elementCount(b.shape) === out * r;
  if (!fits) return `A [${a.shape}] and B [${b.shape}] got, expected [r, ${inputs}] and [${out}, r]`;
  const length = magnitude?.axis === 'input' ? inputs[0]! : out;
  if (magnitude && elementCount(magnitude.vector.shape) !== length)
    return `DoRA's magnitude [${magnitude.vector.shape}] got, expected ${length} numbers`;
  return baseChange?.misfit(base.shape);
}

/** Reads the values of an adapter. Returns a function that creates its layer. */
async function readLayer(
  weight: Weight,
  { a, b, alpha, magnitude, baseChange }: LowRankAdapter,
  { scale, trainable }: { scale: number; trainable: boolean },
): Promise<() => LoraLayer> {
  const [valuesA, valuesB] = [await readValues(a!), await readValues(b!)];
  const lengths = magnitude && (await readValues(magnitude.vector));
  const createTensor = (values: Float32Array | Int32Array, shape: readonly number[]): Tensor => {
    const create = () => tensor(values, [...shape], 'float32');
    return trainable ? asVariable(create) : create();
  };
  const [out, ...inputs] = weight.shape as [number, ...number[]];
  const r = a!.shape[0]!;
  return () =>
    new LoraLayer({
      base: baseChange ? new ChangedWeight(weight, baseChange, 1) : weight,
      loraA: createTensor(valuesA, [r, ...inputs]),
      loraB: createTensor(valuesB, inputs.length === 3 ? [out, r, 1, 1] : [out, r]),
      scale: (scale * alpha) / r,
      ...(lengths && {
        dora: { magnitude: createTensor(lengths, [lengths.length]), axis: magnitude!.axis, exactGradient: false },
      }),
    });
}
