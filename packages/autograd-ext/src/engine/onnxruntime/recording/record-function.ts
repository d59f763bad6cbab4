import { variable, type Tensor, type Variable } from '@tensorflow/tfjs-core';
import { isStoredTensor, mapTensors, trainable, type Params, type StoredTensor } from '../../../params.js';
import { vjp, type ModelFunction } from '../../../vjp.js';
import type { Dtype, Graph, Value } from '../graph/graph.js';
import { viewOfTensor, placeholder, withRecorder } from '../recorder/recorder.js';
import { plain } from '../recorder/view.js';
import '../emit/index.js';

/** A shape and an element type. */
export interface Spec {
  readonly shape: readonly number[];
  readonly dtype: Dtype;
}

/** The shape and element type of a tensor, or of a value in a graph. */
export const specOf = ({ shape, dtype }: { readonly shape: readonly number[]; readonly dtype: string }): Spec => ({
  shape,
  dtype: dtype as Dtype,
});

/** A recorded function: its graph, and what its inputs and outputs mean. */
export interface RecordedFunction {
  /** Inputs: the function's, then the trainable leaves, then the output gradient; see `names`. */
  readonly graph: Graph;
  readonly outputs: {
    readonly values: readonly Value[]; // the function's
    readonly inputs: readonly Value[]; // gradients of the inputs in `wrt`
    readonly params: Readonly<Record<string, Value>>; // gradients of the trainable leaves
  };
}

/** Names of the graph's inputs. */
export const inputName = (index: number): string => `input.${index}`;
export const leafName = (path: string): string => `param.${path}`;
export const gradientName = 'dy';

/** What to differentiate. */
export interface Derivative {
  readonly wrt: readonly number[];
  readonly dy: Spec;
}

/**
 * Records a model function, and with `derivative` its vector-Jacobian product, for inputs of the given shapes.
 * @throws RecordingError
 */
export function recordFunction(
  fn: ModelFunction,
  params: Params,
  inputs: readonly Spec[],
  derivative?: Derivative,
): RecordedFunction {
  const made: Variable[] = [];
  const values: Value[] = [];
  const input = (name: string, { shape, dtype }: Spec) => {
    const value: Value = { shape, dtype, source: { kind: 'input', name } };
    values.push(value);
    return placeholder(value);
  };
  try {
    return withRecorder(describe(fn), () => {
      const xs = inputs.map((spec, i) => input(inputName(i), spec));
      const leaves = trainable(params);
      const tree = mapTensors(params, (path, leaf) => {
        if (!leaves[path]) return weight(leaf);
        const stand = variable(input(leafName(path), leaves[path] as Spec));
        made.push(stand);
        return stand;
      });
      if (!derivative) return forward([fn(tree, ...xs)].flat() as Tensor[], values);
      const product = vjp(fn, tree, xs, input(gradientName, derivative.dy), derivative.wrt);
      const outputs = {
        values: [product.value, ...product.aux].map(valueOf),
        inputs: product.inputs.map(valueOf),
        params: Object.fromEntries(Object.entries(product.params).map(([path, tensor]) => [path, valueOf(tensor)])),
      };
      return {
        graph: { inputs: values, outputs: [...outputs.values, ...outputs.inputs, ...Object.values(outputs.params)] },
        outputs,
      };
    });
  } finally {
    made.forEach((stand) => stand.dispose());
  }
}

function forward(outputs: readonly Tensor[], inputs: readonly Value[]): RecordedFunction {
  const values = outputs.map(valueOf);
  return { graph: { inputs, outputs: values }, outputs: { values, inputs: [], params: {} } };
}

const valueOf = (tensor: Tensor): Value => plain(viewOfTensor(tensor));
const weight = (leaf: Tensor | StoredTensor): Tensor =>
  placeholder({
    shape: leaf.shape,
    dtype: leaf.dtype === 'int32' || (isStoredTensor(leaf) && /^(I|U|BOOL)/.test(leaf.dtype)) ? 'int32' : 'float32',
    source: { kind: 'weight', leaf },
  });

const describe = (fn: ModelFunction): string => (fn.name ? `the function '${fn.name}'` : 'a function');
