import { bodyOf, constant, nodesOf, type Attribute, type Graph, type GraphNode, type Value } from '../graph/graph.js';

/**
 * Common subexpression elimination: merges equal nodes, and removes nodes that change nothing, such as adding zero.
 * Nodes that no output needs vanish too, since a graph is defined by its outputs.
 */
export function simplify(outputs: readonly Value[]): readonly Value[] {
  const rewriter = new Rewriter();
  for (const node of nodesOf(outputs)) rewriter.visit(node);
  return outputs.map(rewriter.replaced);
}

/** Rewrites nodes in topological order. Nodes, weights and constants are compared by string keys. */
class Rewriter {
  readonly #values = new Map<Value, Value>();
  readonly #nodes = new Map<string, GraphNode>();
  readonly #leaves = new Map<string, Value>();
  readonly #ids = new Map<unknown, number>();

  replaced = (value: Value): Value => this.#values.get(value) ?? this.#leaf(value);

  visit(node: GraphNode): void {
    const inputs = node.inputs.map((input) => input && this.replaced(input));
    const body = graphOf(node);
    const candidate: GraphNode = {
      ...node,
      inputs: withScalars(node, inputs),
      ...(body && { attributes: { ...node.attributes, body: { graph: this.#body(body) } } }),
    };
    const operand = body ? undefined : unchangedOperand(candidate, node.outputs[0]!);
    if (operand) return void this.#values.set(node.outputs[0]!, operand);
    const key = body ? `${node.op} ${this.#id(node)}` : this.#key(candidate, node.outputs);
    if (!this.#nodes.has(key)) this.#nodes.set(key, withOutputs(candidate, node.outputs));
    this.#nodes.get(key)!.outputs.forEach((value, i) => this.#values.set(node.outputs[i]!, value));
  }

  /** Rewrites a subgraph, which captures replaced values. */
  #body(graph: Graph): Graph {
    for (const node of bodyOf(graph).nodes) this.visit(node);
    return { inputs: graph.inputs.map(this.replaced), outputs: graph.outputs.map(this.replaced) };
  }

  /** Merges equal weights and constants. */
  #leaf(value: Value): Value {
    const { source, shape, dtype } = value;
    if (source.kind !== 'weight' && source.kind !== 'constant') return value;
    const content =
      source.kind === 'weight'
        ? `#${this.#id(source.leaf)}`
        : typeof source.data === 'number'
          ? text(source.data)
          : source.data.length > 64
            ? `#${this.#id(source.data)}`
            : Array.from(source.data, text).join();
    const key = `${source.kind} ${dtype} [${shape.join()}] ${content}`;
    if (!this.#leaves.has(key)) this.#leaves.set(key, value);
    return this.#leaves.get(key)!;
  }

  #key({ op, domain, inputs, attributes }: GraphNode, outputs: readonly Value[]): string {
    const settings = JSON.stringify(attributes, (_, value: unknown) =>
      typeof value === 'number' ? text(value) : value,
    );
    const operands = inputs.map((input) => (input ? this.#id(input) : ''));
    const shapes = outputs.map(({ shape }) => shape.join());
    return `${domain} ${op} ${settings} ${operands.join()} ${shapes.join(';')}`;
  }

  #id(object: unknown): number {
    if (!this.#ids.has(object)) this.#ids.set(object, this.#ids.size);
    return this.#ids.get(object)!;
  }
}

/** A text that differs for all numbers: JSON confuses -0 with 0, and infinities and NaN with null. */
const text = (number: number): string => (Object.is(number, -0) ? '-0' : String(number));

const graphOf = ({ attributes }: GraphNode): Graph | undefined =>
  (attributes.body as Extract<Attribute, { graph: Graph }> | undefined)?.graph;

/** The node with new outputs, of the shapes and dtypes of the given ones. */
function withOutputs(node: GraphNode, specs: readonly Value[]): GraphNode {
  const outputs: Value[] = [];
  const copy = { ...node, outputs };
  for (const { shape, dtype } of specs) outputs.push({ shape, dtype, source: { kind: 'node', node: copy } });
  return copy;
}

const elementwise = new Set([
  'Add',
  'Sub',
  'Mul',
  'Div',
  'Pow',
  'Max',
  'Min',
  'Where',
  'Equal',
  'Greater',
  'Less',
  'GreaterOrEqual',
  'LessOrEqual',
]);

/** Replaces uniform constants by scalars if another operand has the shape of the result. */
function withScalars(
  { op, outputs }: GraphNode,
  inputs: readonly (Value | undefined)[],
): readonly (Value | undefined)[] {
  if (!elementwise.has(op)) return inputs;
  const shape = outputs[0]!.shape.join();
  const isFull = (value: Value | undefined) => value!.shape.join() === shape;
  const uniform = inputs.map((value) => value!.shape.length > 0 && uniformValue(value!) !== undefined);
  if (!inputs.some((value, i) => isFull(value) && !uniform[i])) return inputs;
  return inputs.map((value, i) => (uniform[i] ? scalar(uniformValue(value!)!, value!) : value));
}

const scalar = (number: number, { dtype }: Value): Value =>
  constant(dtype === 'float32' ? Float32Array.of(number) : Int32Array.of(number), [], dtype);

function uniformValue({ source }: Value): number | undefined {
  if (source.kind !== 'constant') return undefined;
  if (typeof source.data === 'number') return source.data;
  return source.data.length === 1 ? source.data[0] : undefined;
}

/** The operand that a node returns unchanged, such as x of x + 0; undefined if it computes something. */
function unchangedOperand({ op, inputs }: GraphNode, output: Value): Value | undefined {
  const [a, b] = inputs;
  const is = (value: Value | undefined, number: number) => value !== undefined && uniformValue(value) === number;
  const fits = (value: Value | undefined) =>
    value && value.shape.join() === output.shape.join() && value.dtype === output.dtype ? value : undefined;
  if (op === 'Add') return is(b, 0) ? fits(a) : is(a, 0) ? fits(b) : undefined;
  if (op === 'Sub') return is(b, 0) ? fits(a) : undefined;
  if (op === 'Mul') return is(b, 1) ? fits(a) : is(a, 1) ? fits(b) : undefined;
  if (op === 'Div') return is(b, 1) ? fits(a) : undefined;
  if (op === 'Identity') return fits(a);
  return undefined;
}
