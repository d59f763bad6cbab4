import { cast } from '../emit/builders.js';
import { bodyOf, constant, node, nodesOf, type Graph, type GraphNode, type Value } from '../graph/graph.js';
import { replaceValues } from '../graph/replace-values.js';

// As torch's autocast sorts them: what gains most, and what only hands on or combines what it is given. All others need
// the range of float32.
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
 * The same outputs, with products in float16 and what follows them as far as float16 will do. Outputs stay float32.
 * @param outputs of a graph in float32
 */
export function mixPrecision(outputs: readonly Value[]): Value[] {
  const mixer = new Mixer();
  for (const each of nodesOf(outputs)) mixer.visit(each);
  return outputs.map((value) => mixer.full(mixer.now(value)));
}

/**
 * The gradients in float16 reach from what vanishes to what overflows only if their beginning is of a known size. They
 * are linear in it: they are computed for a `dy` whose largest element is `start`, and divided by its factor in
 * float32.
 * @param outputs the function's, and from `first` on the gradients
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

const start = 2 ** -4;
const tiniest = 2 ** -100;

/** Makes each node again, with operands of the precision that suits it. */
class Mixer {
  readonly #made = new Map<Value, Value>();
  readonly #full = new Map<Value, Value>();
  readonly #half = new Map<Value, Value>();

  now = (value: Value): Value => this.#made.get(value) ?? value;

  visit(old: GraphNode): void {
    const inputs = old.inputs.map((value) => value && this.now(value));
    const isHalf = products.has(old.op)
      ? inputs.every((value) => value === undefined || isFloat(value))
      : followers.has(old.op) && inputs.some((value) => value?.dtype === 'float16');
    const isData = (i: number) => !(old.op === 'Resize' && i > 0); // the others are its scales
    const operands = inputs.map((value, i) => value && (isHalf && isData(i) ? this.half(value) : this.full(value)));
    this.#make(old, operands, isHalf);
  }

  full(value: Value): Value {
    return value.dtype === 'float16' ? remembered(this.#full, value, () => cast(value, 'float32')) : value;
  }

  half(value: Value): Value {
    if (value.dtype !== 'float32') return value;
    return remembered(this.#half, value, () => {
      const half = rounded(value);
      this.#full.set(half, value);
      return half;
    });
  }

  #make(old: GraphNode, inputs: GraphNode['inputs'], isHalf: boolean): void {
    const outputs: Value[] = [];
    const made: GraphNode = { ...old, inputs, outputs, attributes: this.#attributes(old.attributes) };
    for (const value of old.outputs) {
      const again: Value = {
        shape: value.shape,
        dtype: isHalf && value.dtype === 'float32' ? 'float16' : value.dtype,
        source: { kind: 'node', node: made },
      };
      outputs.push(again);
      this.#made.set(value, again);
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

  /** A loop hands on float32 from one turn to the next. */
  #body(graph: Graph): Graph {
    const { nodes, captured } = bodyOf(graph);
    const inner = new Mixer();
    for (const value of captured) inner.#made.set(value, this.now(value));
    for (const each of nodes) inner.visit(each);
    return { inputs: graph.inputs, outputs: graph.outputs.map((value) => inner.full(inner.now(value))) };
  }
}

const largestHalf = 65504;

/** A value in float16. Constants such as the -1e30 of masks become its largest numbers, not infinite. */
function rounded(value: Value): Value {
  const { source } = value;
  if (source.kind === 'weight') return { ...value, dtype: 'float16' };
  if (source.kind !== 'constant') return cast(value, 'float16');
  const held = (x: number) => (Number.isFinite(x) ? Math.max(-largestHalf, Math.min(largestHalf, x)) : x);
  const data = typeof source.data === 'number' ? held(source.data) : Float32Array.from(source.data, held);
  return { ...value, dtype: 'float16', source: { kind: 'constant', data } };
}

const isFloat = ({ dtype }: Value): boolean => dtype === 'float32' || dtype === 'float16';

function remembered<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  if (!map.has(key)) map.set(key, make());
  return map.get(key)!;
}
