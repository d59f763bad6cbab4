import { Tensor, Variable } from '@tensorflow/tfjs-core';

/**
 * A frozen tensor that still lies in a file: shape and dtype are known, the values are read when an engine needs them.
 * `read` resolves to the values in row-major order, widened to float32 (or int32).
 */
export interface StoredTensor {
  readonly shape: readonly number[];
  readonly dtype: string;
  /** Where the values lie, as stored, if that is a file of this machine: an engine may map them in place. In bytes. */
  readonly location?: { readonly file: string; readonly offset: number; readonly length: number };
  read(): Promise<Float32Array | Int32Array>;
}

/**
 * A stand-in for the matrix at a module's `weight`, known only by what it does: `apply` maps `[N, in]` to `[N, out]`.
 * Its parts are named beside it, in peft's spelling: the stand-in at `to_q.weight` owns `to_q.base_layer.weight`,
 * `to_q.lora_A.weight` and so on.
 */
export interface LinearMap {
  readonly shape: readonly number[]; // [out, in]
  apply(x: Tensor): Tensor;
  parts(): Readonly<Record<string, Tensor | StoredTensor>>;
  with(parts: Readonly<Record<string, Tensor | StoredTensor>>): LinearMap;
}

/** Frozen (a tensor, in memory or still in a file), trainable (`tf.Variable`), or a stand-in for a matrix. */
export type Leaf = Tensor | StoredTensor | LinearMap;

/** A tree of weights whose dotted paths are the checkpoint's keys. */
export type Params = Leaf | readonly Params[] | { readonly [key: string]: Params };

export const isTensor = (value: unknown): value is Tensor => value instanceof Tensor;
export const isLinearMap = (value: unknown): value is LinearMap =>
  !isTensor(value) && typeof (value as LinearMap | undefined)?.apply === 'function';
export const isStoredTensor = (value: unknown): value is StoredTensor =>
  !isTensor(value) && typeof (value as StoredTensor | undefined)?.read === 'function';
const isLeaf = (params: Params): params is Leaf => isTensor(params) || isStoredTensor(params) || isLinearMap(params);

const join = (path: string, key: string | number) => (path ? `${path}.${key}` : `${key}`);

/** The same tree with every leaf replaced; a stand-in counts as one leaf. */
export function mapLeaves(params: Params, fn: (path: string, leaf: Leaf) => Params, path = ''): Params {
  if (isLeaf(params)) return fn(path, params);
  if (Array.isArray(params)) return params.map((child, i) => mapLeaves(child as Params, fn, join(path, i)));
  return Object.fromEntries(
    Object.entries(params).map(([key, child]) => [key, mapLeaves(child as Params, fn, join(path, key))]),
  );
}

/** The same tree with every tensor replaced, those inside stand-ins included. */
export function mapTensors(
  params: Params,
  fn: (path: string, tensor: Tensor | StoredTensor) => Tensor | StoredTensor,
): Params {
  return mapLeaves(params, (path, leaf) => {
    if (!isLinearMap(leaf)) return fn(path, leaf);
    const module = path.slice(0, path.lastIndexOf('.'));
    return leaf.with(
      Object.fromEntries(Object.entries(leaf.parts()).map(([name, part]) => [name, fn(join(module, name), part)])),
    );
  });
}

/** Leaves by path, in tree order; a stand-in counts as one leaf. */
export function flatten(params: Params): Record<string, Leaf> {
  const leaves: Record<string, Leaf> = {};
  mapLeaves(params, (path, leaf) => (leaves[path] = leaf));
  return leaves;
}

/** Tensors by path, in tree order, those inside stand-ins included. */
export function flattenTensors(params: Params): Record<string, Tensor | StoredTensor> {
  const tensors: Record<string, Tensor | StoredTensor> = {};
  mapTensors(params, (path, tensor) => (tensors[path] = tensor));
  return tensors;
}

type Tree<L> = L | readonly Tree<L>[] | { readonly [key: string]: Tree<L> };

/**
 * Dotted keys to a tree: keys that run 0, 1, … n-1 become an array, all others an object.
 * @throws if one key is a prefix of another
 */
export function unflatten<L>(leaves: Readonly<Record<string, L>>): Tree<L> {
  const root: Map<string, unknown> = new Map();
  for (const [path, leaf] of Object.entries(leaves)) {
    const keys = path.split('.');
    let node = root;
    for (const key of keys.slice(0, -1)) {
      const child = node.get(key) ?? new Map();
      if (!(child instanceof Map)) throw new Error(`unflatten: '${path}' continues a key that already holds a value.`);
      node.set(key, child);
      node = child as Map<string, unknown>;
    }
    if (node.has(keys.at(-1)!)) throw new Error(`unflatten: '${path}' is also the beginning of another key.`);
    node.set(keys.at(-1)!, leaf);
  }
  return fromMap(root) as Tree<L>;
}

function fromMap(node: unknown): unknown {
  if (!(node instanceof Map)) return node;
  const isArray = node.size > 0 && Array.from({ length: node.size }, (_, i) => node.has(`${i}`)).every(Boolean);
  if (isArray) return Array.from({ length: node.size }, (_, i) => fromMap(node.get(`${i}`)));
  return Object.fromEntries([...node].map(([key, child]) => [key, fromMap(child)]));
}

/** The trainable tensors by path. */
export function trainable(params: Params): Record<string, Variable> {
  return Object.fromEntries(
    Object.entries(flattenTensors(params)).filter((entry): entry is [string, Variable] => isTrainable(entry[1])),
  );
}

/** Whether a leaf is a `tf.Variable` that gradients are computed for; a stand-in never is, its parts may be. */
export const isTrainable = (leaf: unknown): leaf is Variable => leaf instanceof Variable && leaf.trainable;

/** Reads the values of a tensor in memory or in a file, row-major, as float32 or int32. */
export const readValues = async (tensor: Tensor | StoredTensor): Promise<Float32Array | Int32Array> =>
  isTensor(tensor) ? await tensor.data<'float32' | 'int32'>() : await tensor.read();

/** The number of elements of a shape: the product of its sizes, 1 for a scalar. */
export const elementCount = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);

/** The same tree with the named tensors replaced. */
export function withTensors(params: Params, named: Readonly<Record<string, Tensor>>): Params {
  return mapTensors(params, (path, tensor) => named[path] ?? tensor);
}
