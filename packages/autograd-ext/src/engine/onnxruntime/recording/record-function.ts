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

/** A recorded function: its graph and the meaning of the graph's outputs. */
export interface RecordedFunction {
  /** Its inputs are the function's, then the trainable leaves, then the output gradient. */
  readonly graph: Graph;
  readonly outputs: {
    /** The function's outputs. */
    readonly values: readonly Value[];
    /** Gradients of the inputs in `wrt`. */
    readonly inputs: readonly Value[];
    /** Gradients of the trainable leaves, by path. */
    readonly params: Readonly<Record<string, Value>>;
  };
}

/** The name of the graph's input for input `index` of the function. */
export const inputName = (index: number): string => `input.${index}`;
/** The name of the graph's input for the trainable leaf at `path`. */
export const leafName = (path: string): string => `param.${path}`;
/** The name of the graph's input for the output gradient. */
export const gradientName = 'dy';

/** The request to differentiate: with respect to which inputs, and the spec of the output gradient. */
export interface Derivative {
  readonly wrt: readonly number[];
  readonly dy: Spec;
}

/**
 * Records a model function for inputs of the given shapes, and with `derivative` its vector-Jacobian product too.
 * @throws RecordingError if the function uses a kernel that cannot be recorded, reads values or draws random numbers
 */
export function recordFunction(
  fn: ModelFunction,
  params: Params,
  inputs: readonly Spec[],
  derivative?: Derivative,
): RecordedFunction {
  const variables: Variable[] = [];
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
        const placeholderVariable = variable(input(leafName(path), leaves[path] as Spec));
        variables.push(placeholderVariable);
        return placeholderVariable;
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
    variables.forEach((leaf) => leaf.dispose());
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
