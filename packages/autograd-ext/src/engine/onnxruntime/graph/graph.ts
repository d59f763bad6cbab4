import { table } from '../../../outside/record.js';
import { elementCount, type StoredTensor } from '../../../params.js';

/**
 * Element types of recorded values, named as in tfjs. Some exist only inside a graph because tfjs lacks them: float16,
 * bfloat16, which only weights have, and int64, which ONNX uses for shapes and indices.
 */
export type Dtype = 'float32' | 'float16' | 'bfloat16' | 'int32' | 'bool' | 'int64';

/** The dtype of the tfjs tensor that a graph output becomes. */
export const tensorType = (dtype: Dtype): 'float32' | 'int32' | 'bool' =>
  dtype === 'int64' ? 'int32' : dtype === 'float16' || dtype === 'bfloat16' ? 'float32' : dtype;

/** Codes of the element types in ONNX files. */
export const elementTypes: Readonly<Record<Dtype, number>> = {
  float32: 1,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  bfloat16: 16,
};

/** The formats of files that sessions read in place, by their names in files. */
export const storedTypes = table<Dtype>({
  F32: 'float32',
  float32: 'float32',
  F16: 'float16',
  BF16: 'bfloat16',
  I32: 'int32',
  int32: 'int32',
});

/** Bytes of a graph's weights up to which its sessions compute what depends on weights alone once, when they start. */
export const relayoutLimit = 2 ** 28;

/** The values of a constant in row-major order, or one number if all are equal. */
export type ConstantData = number | Float32Array | Int32Array;

/** One array of the graph, of fixed shape. Values are compared by identity. */
export interface Value {
  readonly shape: readonly number[];
  readonly dtype: Dtype;
  /** The origin: an input of the graph, a frozen weight, a constant, or the node that computes it. */
  readonly source:
    | { readonly kind: 'input'; readonly name: string }
    | { readonly kind: 'weight'; readonly leaf: StoredTensor | object }
    | { readonly kind: 'constant'; readonly data: ConstantData }
    | { readonly kind: 'node'; readonly node: GraphNode };
}

/** The size of a value in memory, in bytes. */
export const bytesOf = ({ shape, dtype }: Value): number => elementCount(shape) * elementBytes[dtype];

/** The sum of numbers, of bytes mostly. */
export const sumOf = (numbers: Iterable<number>): number => {
  let sum = 0;
  for (const number of numbers) sum += number;
  return sum;
};

const elementBytes: Readonly<Record<Dtype, number>> = {
  float32: 4,
  float16: 2,
  bfloat16: 2,
  int32: 4,
  bool: 1,
  int64: 8,
};

/**
 * An attribute of a node. It is tagged by type because ONNX distinguishes integers from floats and JavaScript does not.
 */
export type Attribute =
  | { readonly int: number }
  | { readonly ints: readonly number[] }
  | { readonly float: number }
  | { readonly string: string }
  | { readonly graph: Graph };

/** One application of an ONNX operator. An omitted optional input is undefined. */
export interface GraphNode {
  readonly op: string;
  /** The operator's namespace; '' is ONNX's own. */
  readonly domain: string;
  readonly inputs: readonly (Value | undefined)[];
  readonly attributes: Readonly<Record<string, Attribute>>;
  readonly outputs: readonly Value[];
}

/** A function as a graph. Its nodes are not listed: `nodesOf` finds those that the outputs depend on. */
export interface Graph {
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
}

/** The namespace of ONNX Runtime's own operators. */
export const microsoft = 'com.microsoft';

/** The optional parts of a new node. */
export interface NodeOptions {
  readonly domain?: string;
  readonly attributes?: Readonly<Record<string, Attribute>>;
}

/** Makes a node with several outputs. */
export function nodeOutputs(
  op: string,
  inputs: readonly (Value | undefined)[],
  outputs: readonly { shape: readonly number[]; dtype: Dtype }[],
  { domain = '', attributes = {} }: NodeOptions = {},
): readonly Value[] {
  const values: Value[] = [];
  const node: GraphNode = { op, domain, inputs, attributes, outputs: values };
  for (const { shape, dtype } of outputs) values.push({ shape: [...shape], dtype, source: { kind: 'node', node } });
  return values;
}

/** Makes a node with one output of the given shape. Its dtype is that of the first input by default. */
export function node(
  op: string,
  inputs: readonly (Value | undefined)[],
  shape: readonly number[],
  { dtype, ...options }: NodeOptions & { dtype?: Dtype } = {},
): Value {
  return nodeOutputs(op, inputs, [{ shape, dtype: dtype ?? inputs[0]!.dtype }], options)[0]!;
}

export const constant = (data: ConstantData, shape: readonly number[], dtype: Dtype = 'float32'): Value => ({
  shape: [...shape],
  dtype,
  source: { kind: 'constant', data },
});

/** A list of integers as an int64 vector, which is how ONNX operators take shapes, axes and steps. */
export const integers = (values: readonly number[]): Value =>
  constant(Int32Array.from(values), [values.length], 'int64');

/** The node that computes a value; undefined for inputs, weights and constants. */
export const producerOf = (value: Value | undefined): GraphNode | undefined =>
  value?.source.kind === 'node' ? value.source.node : undefined;

/** The list of integers that an attribute holds; undefined if the node lacks the attribute. */
export function intsOf({ attributes }: GraphNode, name: string): readonly number[] | undefined {
  const attribute = attributes[name];
  return attribute && 'ints' in attribute ? attribute.ints : undefined;
}

/**
 * The nodes that the values depend on, in topological order: depth first, beginning with the last input. ONNX Runtime
 * breaks ties in its own order by running later nodes first, so this order makes it compute values shortly before it
 * needs them.
 */
export function nodesOf(outputs: readonly Value[]): GraphNode[] {
  const order: GraphNode[] = [];
  const seen = new Set<GraphNode>();
  // An explicit stack: recursion would overflow on chains of thousands of nodes.
  const pending: { node: GraphNode; next: number }[] = [];
  const visit = (value: Value | undefined) => {
    const producer = producerOf(value);
    if (!producer || seen.has(producer)) return;
    seen.add(producer);
    pending.push({ node: producer, next: 0 });
  };
  for (const output of outputs) {
    visit(output);
    while (pending.length > 0) {
      const top = pending.at(-1)!;
      const inputs = dependencies(top.node);
      if (top.next < inputs.length) visit(inputs[inputs.length - 1 - top.next++]);
      else order.push(pending.pop()!.node);
    }
  }
  return order;
}

/** The bytes of each weight that the values depend on. */
export function weightsOf(outputs: readonly Value[]): ReadonlyMap<object, number> {
  const values = [...nodesOf(outputs).flatMap(dependencies), ...outputs];
  return new Map(
    values.flatMap((value) => (value?.source.kind === 'weight' ? [[value.source.leaf, bytesOf(value)] as const] : [])),
  );
}

/** The bytes of all values that nodes compute: more than a run needs at once. */
export const computedBytes = (outputs: readonly Value[]): number =>
  sumOf(nodesOf(outputs).flatMap((node) => node.outputs.map(bytesOf)));

/**
 * Selects the nodes that depend on weights and constants alone. ONNX Runtime computes them once, when the session
 * starts.
 * @param nodes in topological order
 */
export function constantNodes(nodes: readonly GraphNode[]): ReadonlySet<GraphNode> {
  const constants = new Set<GraphNode>();
  const isConstant = (value: Value | undefined) =>
    value === undefined ||
    value.source.kind === 'weight' ||
    value.source.kind === 'constant' ||
    (value.source.kind === 'node' && constants.has(value.source.node));
  for (const node of nodes) if (dependencies(node).every(isConstant)) constants.add(node);
  return constants;
}

/** The content of a subgraph: its nodes, and the outer values that they read. */
export interface Body {
  readonly nodes: readonly GraphNode[];
  readonly captured: readonly Value[];
}

const bodies = new WeakMap<Graph, Body>();

/**
 * Divides the nodes behind a subgraph's outputs: those that depend on its inputs belong to the subgraph, all others are
 * computed outside and captured.
 */
export function bodyOf(graph: Graph): Body {
  const cached = bodies.get(graph);
  if (cached) return cached;
  const inside = new Set<Value>(graph.inputs);
  const nodes = nodesOf(graph.outputs).filter((n) => {
    const isInside = dependencies(n).some((value) => value && inside.has(value));
    if (isInside) n.outputs.forEach((value) => inside.add(value));
    return isInside;
  });
  const captured = [...nodes.flatMap(dependencies), ...graph.outputs].filter(
    (value): value is Value => value !== undefined && !inside.has(value),
  );
  const body = { nodes, captured: [...new Set(captured)] };
  bodies.set(graph, body);
  return body;
}

/** The inputs of a node, including the values that its subgraphs capture. */
export function dependencies(node: GraphNode): readonly (Value | undefined)[] {
  const graphs = Object.values(node.attributes).flatMap((attribute) => ('graph' in attribute ? [attribute.graph] : []));
  return graphs.length === 0 ? node.inputs : [...node.inputs, ...graphs.flatMap((graph) => bodyOf(graph).captured)];
}
