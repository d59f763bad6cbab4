import { cast } from '../emit/builders.js';
import { bodyOf, constant, node, nodesOf, type Graph, type GraphNode, type Value } from '../graph/graph.js';
import { replaceValues } from '../graph/replace-values.js';

// Operators as torch's autocast sorts them: products gain most from float16; followers run in float16 if an operand is
// float16 already. All others need the range of float32.
const products = new Set(['MatMul', 'Gemm', 'Conv', 'ConvTranspose', 'MultiHeadAttention']);
const followers = new Set([
  'Reshape',
  'Transpose',
  'Split',
  'Slice',
  'Concat',
  'Expand',
  'Pad',
  'Gather',
  'DepthToSpace',
  'Identity',
  'Resize',
  'AveragePool',
  'MaxPool',
  'Where',
  'Clip',
  'Add',
  'Sub',
  'Mul',
  'Neg',
  'Relu',
  'Gelu',
  'QuickGelu',
  'Sigmoid',
  'Tanh',
]);

/**
 * Mixed precision: computes matrix products and convolutions in float16, and the operators after them as long as
 * float16 suffices. The outputs stay float32.
 * @param outputs of a graph in float32
 */
export function mixPrecision(outputs: readonly Value[]): Value[] {
  const mixer = new Mixer();
  for (const each of nodesOf(outputs)) mixer.visit(each);
  return outputs.map((value) => mixer.full(mixer.now(value)));
}

/**
 * Loss scaling: scales `dy` so that its largest element is `start` and unscales the gradients in float32, so that
 * float16 gradients neither underflow nor overflow. This is exact up to rounding because gradients are linear in `dy`.
 * @param outputs the function's, and from index `first` on the gradients
 */
export function scaleGradients(outputs: readonly Value[], first: number, dy: Value): Value[] {
  const largest = node(
    'Max',
    [
      node('ReduceMax', [node('Abs', [dy], dy.shape)], [], { attributes: { keepdims: { int: 0 } } }),
      constant(tiniest, []),
    ],
    [],
  );
  const factor = node('Div', [constant(start, []), largest], []);
  const inverse = node('Div', [constant(1, []), factor], []);
  const scaled = replaceValues(outputs, new Map([[dy, node('Mul', [dy, factor], dy.shape)]]));
  return scaled.map((value, i) => (i < first ? value : node('Mul', [value, inverse], value.shape)));
}

/** The largest element of the scaled output gradient. */
const start = 2 ** -4;
/** Keeps the factor finite for an output gradient of zeros. */
const tiniest = 2 ** -100;

/** Rebuilds nodes in topological order with operands in the precision of each node. */
class Mixer {
  readonly #rebuilt = new Map<Value, Value>();
  readonly #full = new Map<Value, Value>();
  readonly #half = new Map<Value, Value>();

  /** The rebuilt value, in whatever precision it was computed. */
  now = (value: Value): Value => this.#rebuilt.get(value) ?? value;

  visit(old: GraphNode): void {
    const inputs = old.inputs.map((value) => value && this.now(value));
    const isHalf = products.has(old.op)
      ? inputs.every((value) => value === undefined || isFloat(value))
      : followers.has(old.op) && inputs.some((value) => value?.dtype === 'float16');
    const isData = (i: number) => !(old.op === 'Resize' && i > 0); // further inputs of Resize are its scales
    const operands = inputs.map((value, i) => value && (isHalf && isData(i) ? this.half(value) : this.full(value)));
    this.#rebuild(old, operands, isHalf);
  }

  /** The value in float32 if it is float16, else as it is. */
  full(value: Value): Value {
    return value.dtype === 'float16' ? getOrCompute(this.#full, value, () => cast(value, 'float32')) : value;
  }

  /** The value in float16 if it is float32, else as it is. */
  half(value: Value): Value {
    if (value.dtype !== 'float32') return value;
    return getOrCompute(this.#half, value, () => {
      const half = toHalf(value);
      this.#full.set(half, value);
      return half;
    });
  }

  #rebuild(old: GraphNode, inputs: GraphNode['inputs'], isHalf: boolean): void {
    const outputs: Value[] = [];
    const rebuilt: GraphNode = { ...old, inputs, outputs, attributes: this.#attributes(old.attributes) };
    for (const value of old.outputs) {
      const output: Value = {
        shape: value.shape,
        dtype: isHalf && value.dtype === 'float32' ? 'float16' : value.dtype,
        source: { kind: 'node', node: rebuilt },
      };
      outputs.push(output);
      this.#rebuilt.set(value, output);
    }
  }

  #attributes(attributes: GraphNode['attributes']): GraphNode['attributes'] {
    return Object.fromEntries(
      Object.entries(attributes).map(([key, attribute]) => [
        key,
        'graph' in attribute ? { graph: this.#body(attribute.graph) } : attribute,
      ]),
    );
  }

  /** Rebuilds the body of a loop. Its state and results stay float32. */
  #body(graph: Graph): Graph {
    const { nodes, captured } = bodyOf(graph);
    const inner = new Mixer();
    for (const value of captured) inner.#rebuilt.set(value, this.now(value));
    for (const each of nodes) inner.visit(each);
    return { inputs: graph.inputs, outputs: graph.outputs.map((value) => inner.full(inner.now(value))) };
  }
}

const largestHalf = 65504;

/**
 * Converts a value to float16. Constants beyond its range, such as the -1e30 of masks, are clamped instead of infinite.
 */
function toHalf(value: Value): Value {
  const { source } = value;
  if (source.kind === 'weight') return { ...value, dtype: 'float16' };
  if (source.kind !== 'constant') return cast(value, 'float16');
  const clamp = (x: number) => (Number.isFinite(x) ? Math.max(-largestHalf, Math.min(largestHalf, x)) : x);
  const data = typeof source.data === 'number' ? clamp(source.data) : Float32Array.from(source.data, clamp);
  return { ...value, dtype: 'float16', source: { kind: 'constant', data } };
}

const isFloat = ({ dtype }: Value): boolean => dtype === 'float32' || dtype === 'float16';

function getOrCompute<K, V>(map: Map<K, V>, key: K, compute: () => V): V {
  if (!map.has(key)) map.set(key, compute());
  return map.get(key)!;
}
