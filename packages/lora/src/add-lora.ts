import {
  elementCount,
  flatten,
  isLinearMap,
  mapLeaves,
  type Leaf,
  type Params,
  type StoredTensor,
  type TorchGenerator,
} from '@alignprop/autograd-ext';
import { tensor, tidy, variable, zeros, type Tensor, type Variable } from '@tensorflow/tfjs-core';
import { checkLoraConfig, type LoraConfig } from './lora-config.js';
import { LoraLayer } from './lora-layer.js';
import { list, matches, moduleOf } from './modules.js';

/**
 * Adds a new trainable adapter to every linear layer and convolution whose path ends in one of `targetModules`. Returns
 * a new tree that shares the weights of the given one. A, B and DoRA's m are `tf.Variable`s that belong to the caller:
 * `dispose(loraTensors(params))` frees them. Adapters are drawn in the order of the sorted paths, so that the order of
 * the tree's keys does not matter. `addDora` adds DoRA.
 * @throws if a target matches no module, or a module that is neither or already has an adapter
 */
export function addLora(params: Params, config: LoraConfig, generator: TorchGenerator): Params {
  checkLoraConfig(config);
  const targets = findTargets(flatten(params), config.targetModules);
  const adapted = new Map(targets.map(([path, base]) => [path, newAdapter(base, config, generator)]));
  return mapLeaves(params, (path, leaf) => adapted.get(path) ?? leaf);
}

type Weight = Tensor | StoredTensor;

function findTargets(leaves: Readonly<Record<string, Leaf>>, targetModules: readonly string[]): [string, Weight][] {
  const weights = Object.entries(leaves).filter(([path]) => path === 'weight' || path.endsWith('.weight'));
  const isTarget = (path: string) => targetModules.some((target) => matches(moduleOf(path), target));
  const targets = weights.filter(([path]) => isTarget(path)).sort(([a], [b]) => (a < b ? -1 : 1));
  const problems = [...unmatchedTargets(weights, targetModules), ...unsuitableTargets(targets)];
  if (problems.length) throw new Error(`addLora: ${problems.join(' ')}`);
  return targets as [string, Weight][];
}

/** Whether a weight is a matrix or a kernel. */
const isAdaptable = ({ shape }: Leaf): boolean => shape.length === 2 || shape.length === 4;

function unmatchedTargets(weights: [string, Leaf][], targetModules: readonly string[]): string[] {
  const missing = targetModules.filter((target) => !weights.some(([path]) => matches(moduleOf(path), target)));
  if (missing.length === 0) return [];
  const candidates = weights.filter(([, leaf]) => isAdaptable(leaf)).map(([path]) => moduleOf(path));
  return [
    `targetModules got ${list(missing)}, which end no module's path. ` +
      `Linear layers and convolutions here: ${list(candidates)}.`,
  ];
}

function unsuitableTargets(targets: [string, Leaf][]): string[] {
  const adapted = targets.filter(([, leaf]) => isLinearMap(leaf));
  const unsuitable = targets.filter(([, leaf]) => !isAdaptable(leaf));
  const name = ([path, { shape }]: [string, Leaf]) => `${moduleOf(path)} [${shape}]`;
  const problems: string[] = [];
  if (adapted.length > 0)
    problems.push(`already adapted: ${list(adapted.map(name))}. Fuse or remove the adapter that is there first.`);
  if (unsuitable.length > 0)
    problems.push(
      'only linear layers and convolutions (weights of two or four dimensions) can be adapted, ' +
        `got ${list(unsuitable.map(name))}. Name other targets.`,
    );
  return problems;
}

function newAdapter(
  base: Weight,
  { r, loraAlpha, initLoraWeights = 'gaussian' }: LoraConfig,
  generator: TorchGenerator,
): LoraLayer {
  const [out, ...inputs] = base.shape as [number, ...number[]]; // inputs is [in] or [in, kh, kw]
  const values = initialA[initLoraWeights](generator, r, elementCount(inputs));
  return new LoraLayer({
    base,
    loraA: asVariable(() => tensor(values, [r, ...inputs])),
    loraB: asVariable(() => zeros(base.shape.length === 4 ? [out, r, 1, 1] : [out, r])),
    scale: loraAlpha / r,
  });
}

const initialA = {
  gaussian: (generator: TorchGenerator, r: number, inSize: number) => generator.randn(r * inSize).map((z) => z / r),
  'kaiming-uniform': (generator: TorchGenerator, r: number, inSize: number) =>
    generator.rand(r * inSize).map((u) => (2 * u - 1) / Math.sqrt(inSize)),
};

/** Creates a variable from a tensor and frees the tensor. Variables survive the end of a `tf.tidy`. */
export const asVariable = (initialValue: () => Tensor): Variable => {
  let result: Variable;
  tidy(() => void (result = variable(initialValue())));
  return result!;
};
