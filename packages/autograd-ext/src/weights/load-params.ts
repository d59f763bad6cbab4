import { excerpt } from '../outside/excerpt.js';
import { areFinite } from './dtypes/are-finite.js';
import type { Leaf, Params, StoredTensor } from '../params.js';

/** The shapes of a model's weights, by its config: a tree of the form of the `Params` that `loadParams` returns. */
export type ParamsSpec =
  { readonly shape: readonly number[] } | readonly ParamsSpec[] | { readonly [key: string]: ParamsSpec };

export interface LoadParamsOptions {
  /** The name of the model's class, for error messages. */
  readonly owner: string;
  /** The location of the weights, for error messages. */
  readonly location: string;
  /** Keys that the checkpoint may have in addition to those of the spec. */
  readonly ignored?: readonly RegExp[];
}

/**
 * Arranges the weights of a checkpoint as a tree, and checks their keys and shapes. Reads no values; reading or
 * checking a weight that contains NaN or infinity throws an error that names it and its file.
 * @throws one error that lists all missing keys, all unexpected keys, all wrong shapes and all weights of integers
 */
export function loadParams(
  spec: ParamsSpec,
  weights: ReadonlyMap<string, StoredTensor>,
  { owner, location, ignored = [] }: LoadParamsOptions,
): Params {
  const shapes = new Map(shapesOf(spec));
  const isIgnored = (key: string) => ignored.some((pattern) => pattern.test(key));
  const missing = [...shapes.keys()].filter((key) => !weights.has(key));
  const unexpected = [...weights.keys()].filter((key) => !shapes.has(key) && !isIgnored(key));
  const problems =
    list('missing', missing) +
    list('unexpected', unexpected) +
    list('of another shape', wrongShapes(shapes, weights)) +
    list('of integers, as quantised weights are, expected floating-point numbers', integers(shapes, weights));
  if (problems)
    throw new Error(
      `${owner}: the weights in '${location}' do not fit its config.${problems}\n` +
        'Check that the config and the weights belong to the same model.',
    );
  return initParams(spec, (path) => withFiniteCheck(weights.get(path)!, path, owner, location));
}

/** Builds a tree of leaves from a spec: calls `init` for every shape. */
export function initParams(spec: ParamsSpec, init: (path: string, shape: readonly number[]) => Leaf): Params {
  return build(spec, init, '');
}

function build(spec: ParamsSpec, init: (path: string, shape: readonly number[]) => Leaf, path: string): Params {
  if (isShape(spec)) return init(path, spec.shape);
  if (Array.isArray(spec)) return spec.map((child: ParamsSpec, i) => build(child, init, join(path, `${i}`)));
  return Object.fromEntries(
    Object.entries(spec).map(([key, child]) => [key, build(child as ParamsSpec, init, join(path, key))]),
  );
}

function shapesOf(spec: ParamsSpec, path = ''): [path: string, shape: readonly number[]][] {
  if (isShape(spec)) return [[path, spec.shape]];
  return Object.entries(spec).flatMap(([key, child]) => shapesOf(child as ParamsSpec, join(path, key)));
}

const join = (path: string, key: string) => (path ? `${path}.${key}` : key);

const isShape = (spec: ParamsSpec): spec is { readonly shape: readonly number[] } => {
  const { shape } = spec as { shape?: unknown };
  return Array.isArray(shape) && shape.every((size) => typeof size === 'number');
};

function wrongShapes(
  shapes: ReadonlyMap<string, readonly number[]>,
  weights: ReadonlyMap<string, StoredTensor>,
): string[] {
  return [...shapes].flatMap(([key, expected]) => {
    const got = weights.get(key)?.shape.join(', ');
    return got === undefined || got === expected.join(', ')
      ? []
      : [`${key} (got [${got}], expected [${expected.join(', ')}])`];
  });
}

/** Returns the weights whose numbers are whole: those of quantised files, which have scales elsewhere. */
function integers(shapes: ReadonlyMap<string, unknown>, weights: ReadonlyMap<string, StoredTensor>): string[] {
  return [...shapes.keys()].flatMap((key) => {
    const dtype = weights.get(key)?.dtype;
    return dtype === undefined || /^(?:B?F\d|C64$)/.test(dtype) ? [] : [`${key} (${dtype})`];
  });
}

const list = (problem: string, keys: readonly string[]) =>
  keys.length ? `\n${keys.length} ${problem}: ${keys.join(', ')}.` : '';

/** Wraps a weight so that reading and checking it throw where a value is not finite. */
function withFiniteCheck(weight: StoredTensor, path: string, owner: string, location: string): StoredTensor {
  const { dtype, scan } = weight;
  const read = async (): Promise<Float32Array | Int32Array> => {
    const values = await weight.read();
    const bad = values instanceof Float32Array ? firstNotFinite(values) : -1;
    if (bad < 0) return values;
    const file = weight.location?.file ?? location;
    throw new Error(
      `${owner}: weight '${excerpt(path)}' in '${file}' got ${values[bad]} at position ${bad}, ` +
        'expected finite numbers. ' +
        'The checkpoint is damaged; use another one.',
    );
  };
  if (!scan) return { ...weight, read };
  const check = async (): Promise<void> => {
    let finite = true;
    await scan((piece) => (finite &&= areFinite(dtype, piece)));
    if (!finite) await read(); // says which value it is
  };
  return { ...weight, read, check };
}

// A plain loop: calling a function for each of a billion values takes seconds.
function firstNotFinite(values: Float32Array): number {
  for (let i = 0; i < values.length; i++) if (values[i]! - values[i]! !== 0) return i;
  return -1;
}
