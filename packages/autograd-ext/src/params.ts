import { Tensor, Variable } from '@tensorflow/tfjs-core';
import { record } from './outside/record.js';

/** A frozen tensor in a file. Its shape and dtype are known; an engine reads the values when it needs them. */
export interface StoredTensor {
  readonly shape: readonly number[];
  /** As stored in the file, in safetensors' spelling. */
  readonly dtype: string;
  /** The position of the stored values in a local file, in bytes, from which an engine may memory-map them. */
  readonly location?: { readonly file: string; readonly offset: number; readonly length: number };
  /**
   * Reads the stored bytes at `location` in pieces of whole elements, without keeping them.
   * @throws if a checksum shows that they are damaged
   */
  readonly scan?: (visit: (piece: Uint8Array) => void) => Promise<void>;
  /**
   * Checks the stored values without keeping them: an engine calls it before it maps `location`.
   * @throws if they are damaged or not finite
   */
  readonly check?: () => Promise<void>;
  /** Reads the values in row-major order, widened to float32 or int32. */
  read(): Promise<Float32Array | Int32Array>;
}

/** Number of zeros added at the borders of an image: the same on all sides, or `[top, bottom, left, right]`. */
export type Padding = number | readonly [top: number, bottom: number, left: number, right: number];

/** How a kernel moves over an image. */
export interface Conv2DOptions {
  /** 1 by default. */
  readonly stride?: number;
  /** Less than the kernel's size; 0 by default. */
  readonly padding?: Padding;
}

/**
 * A linear map in place of the matrix or kernel at a module's `weight`, such as a LoRA layer. Its tensors have paths
 * beside its own, spelled as in peft: the map at `to_q.weight` has parts `to_q.base_layer.weight`,
 * `to_q.lora_A.weight` and so on.
 */
export interface LinearMap {
  readonly shape: readonly number[]; // [out, in], or [out, in, kh, kw] in place of a kernel
  /**
   * Maps `[N, in]` to `[N, out]`, without the module's bias. In place of a kernel, maps `[B, H, W, in]` to
   * `[B, H', W', out]`.
   */
  apply(x: Tensor, options?: Conv2DOptions): Tensor;
  /** The tensors it is computed from, by name. */
  parts(): Readonly<Record<string, Tensor | StoredTensor>>;
  /** The same map with other parts. */
  with(parts: Readonly<Record<string, Tensor | StoredTensor>>): LinearMap;
}

/** A weight: frozen (a tensor, in memory or in a file), trainable (`tf.Variable`), or a linear map. */
export type Leaf = Tensor | StoredTensor | LinearMap;

/** A tree of weights whose dotted paths are the checkpoint's keys. */
export type Params = Leaf | readonly Params[] | { readonly [key: string]: Params };

/** Whether a value is a tensor in memory. */
export const isTensor = (value: unknown): value is Tensor => value instanceof Tensor;
/** Whether a value is a linear map. */
export const isLinearMap = (value: unknown): value is LinearMap =>
  !isTensor(value) && typeof (value as LinearMap | undefined)?.apply === 'function';
/** Whether a value is a tensor in a file. */
export const isStoredTensor = (value: unknown): value is StoredTensor =>
  !isTensor(value) && typeof (value as StoredTensor | undefined)?.read === 'function';
const isLeaf = (params: Params): params is Leaf => isTensor(params) || isStoredTensor(params) || isLinearMap(params);

const join = (path: string, key: string | number) => (path ? `${path}.${key}` : `${key}`);

/** Returns the same tree with every leaf replaced by `fn(path, leaf)`. A linear map is one leaf. */
export function mapLeaves(params: Params, fn: (path: string, leaf: Leaf) => Params, path = ''): Params {
  if (isLeaf(params)) return fn(path, params);
  if (Array.isArray(params)) return params.map((child, i) => mapLeaves(child as Params, fn, join(path, i)));
  return Object.fromEntries(
    Object.entries(params).map(([key, child]) => [key, mapLeaves(child as Params, fn, join(path, key))]),
  );
}

/** Returns the same tree with every tensor replaced by `fn(path, tensor)`, including the parts of linear maps. */
export function mapTensors(
  params: Params,
  fn: (path: string, tensor: Tensor | StoredTensor) => Tensor | StoredTensor,
): Params {
  return mapLeaves(params, (path, leaf) => {
    if (!isLinearMap(leaf)) return fn(path, leaf);
    const modulePath = path.slice(0, path.lastIndexOf('.'));
    return leaf.with(
      Object.fromEntries(Object.entries(leaf.parts()).map(([name, part]) => [name, fn(join(modulePath, name), part)])),
    );
  });
}

/** Returns the leaves by path, in tree order. A linear map is one leaf. */
export function flatten(params: Params): Record<string, Leaf> {
  const leaves = record<Leaf>();
  mapLeaves(params, (path, leaf) => (leaves[path] = leaf));
  return leaves;
}

/** Returns the tensors by path, in tree order, including the parts of linear maps. */
export function flattenTensors(params: Params): Record<string, Tensor | StoredTensor> {
  const tensors = record<Tensor | StoredTensor>();
  mapTensors(params, (path, tensor) => (tensors[path] = tensor));
  return tensors;
}

type Tree<L> = L | readonly Tree<L>[] | { readonly [key: string]: Tree<L> };

/**
 * Builds the tree whose leaves have the given paths. A node whose keys are 0, 1, … n-1 becomes an array, any other an
 * object.
 * @throws if one path continues another
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

/** Returns the trainable tensors by path, including those inside linear maps. */
export function trainable(params: Params): Record<string, Variable> {
  return Object.fromEntries(
    Object.entries(flattenTensors(params)).filter((entry): entry is [string, Variable] => isTrainable(entry[1])),
  );
}

/** Whether a leaf is a trainable `tf.Variable`. False for a linear map, whose parts may be trainable. */
export const isTrainable = (leaf: unknown): leaf is Variable => leaf instanceof Variable && leaf.trainable;

/** Reads the values of a tensor in memory or in a file, in row-major order, as float32 or int32. */
export const readValues = async (tensor: Tensor | StoredTensor): Promise<Float32Array | Int32Array> =>
  isTensor(tensor) ? await tensor.data<'float32' | 'int32'>() : await tensor.read();

/** Returns the number of elements of a shape: the product of its sizes, 1 for a scalar. */
export const elementCount = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);

/** Returns the same tree with the tensors at the given paths replaced. */
export function withTensors(params: Params, named: Readonly<Record<string, Tensor>>): Params {
  return mapTensors(params, (path, tensor) => named[path] ?? tensor);
}
