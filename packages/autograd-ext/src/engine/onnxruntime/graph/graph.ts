import { elementCount, type StoredTensor } from '../../../params.js';

/**
 * Element types of recorded values, as tfjs names them. It lacks float16, and int64, which ONNX counts in: these never
 * leave the graph.
 */
export type Dtype = 'float32' | 'float16' | 'int32' | 'bool' | 'int64';

/** The type of the tensor that a value becomes which leaves the graph. */
export const tensorType = (dtype: Dtype): 'float32' | 'int32' | 'bool' =>
  dtype === 'int64' ? 'int32' : dtype === 'float16' ? 'float32' : dtype;

/** What ONNX's files call the element types. */
export const elementTypes: Readonly<Record<Dtype, number>> = { float32: 1, int32: 6, int64: 7, bool: 9, float16: 10 };

/** Values of a constant, row by row; a number where all are the same. */
export type ConstantData = number | Float32Array | Int32Array;

/** One array of the graph, of fixed shape. Values are compared by identity. */
export interface Value {
  readonly shape: readonly number[];
  readonly dtype: Dtype;
  /** Where it comes from. */
  readonly source:
    | { readonly kind: 'input'; readonly name: string }
    | { readonly kind: 'weight'; readonly leaf: StoredTensor | object }
    | { readonly kind: 'constant'; readonly data: ConstantData }
    | { readonly kind: 'node'; readonly node: GraphNode };
}

/** Bytes of a value in memory. */
export const bytesOf = ({ shape, dtype }: Value): number => elementCount(shape) * elementBytes[dtype];

const elementBytes: Readonly<Record<Dtype, number>> = { float32: 4, float16: 2, int32: 4, bool: 1, int64: 8 };

/** An attribute of a node: ONNX tells integers from floats, JavaScript does not. */
export type Attribute =
  | { readonly int: number }
  | { readonly ints: readonly number[] }
  | { readonly float: number }
  | { readonly string: string }
  | { readonly graph: Graph };

/** One application of an ONNX operator. An input that is left out is undefined. */
export interface GraphNode {
  readonly op: string;
  /** '' for ONNX's own operators. */
  readonly domain: string;
  readonly inputs: readonly (Value | undefined)[];
  readonly attributes: Readonly<Record<string, Attribute>>;
  readonly outputs: readonly Value[];
}

/** A function as a graph: the nodes that its outputs need follow from the values. */
export interface Graph {
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
}

/** ONNX Runtime's own operators. */
export const microsoft = 'com.microsoft';

/** What `addNode` is told besides operator and inputs. */
export interface NodeOptions {
  readonly domain?: string;
  readonly attributes?: Readonly<Record<string, Attribute>>;
}

/** Adds a node with several outputs. */
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

/** Adds a node with one output of the given shape, of the first input's type unless told otherwise. */
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

/** A list of integers, as ONNX wants shapes, axes and so on. */
export const integers = (values: readonly number[]): Value =>
  constant(Int32Array.from(values), [values.length], 'int64');

/**
 * The nodes that the values depend on, each after those it depends on: depth first, the last input first. ONNX Runtime
 * runs those first that come last, so that what it computes early is what it is about to need.
 */
export function nodesOf(outputs: readonly Value[]): GraphNode[] {
  const order: GraphNode[] = [];
  const seen = new Set<GraphNode>();
  // A stack of our own: a chain of a thousand nodes would overflow the program's.
  const pending: { node: GraphNode; next: number }[] = [];
  const visit = (value: Value | undefined) => {
    if (value?.source.kind !== 'node' || seen.has(value.source.node)) return;
    seen.add(value.source.node);
    pending.push({ node: value.source.node, next: 0 });
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

/** Of nodes in order, those that depend on no input: they run once, when the session starts. */
export function constantNodes(nodes: readonly GraphNode[]): ReadonlySet<GraphNode> {
  const fixed = new Set<GraphNode>();
  const isFixed = (value: Value | undefined) =>
    value === undefined ||
    value.source.kind === 'weight' ||
    value.source.kind === 'constant' ||
    (value.source.kind === 'node' && fixed.has(value.source.node));
  for (const node of nodes) if (dependencies(node).every(isFixed)) fixed.add(node);
  return fixed;
}

/** What a subgraph is made of: the nodes inside it, and the values from outside that these use. */
export interface Body {
  readonly nodes: readonly GraphNode[];
  readonly captured: readonly Value[];
}

const bodies = new WeakMap<Graph, Body>();

/** Splits what a subgraph's outputs depend on: inside is what depends on its inputs. */
export function bodyOf(graph: Graph): Body {
  const known = bodies.get(graph);
  if (known) return known;
  const inside = new Set<Value>(graph.inputs);
  const nodes = nodesOf(graph.outputs).filter((n) => {
    const isInside = dependencies(n).some((value) => value && inside.has(value));
    if (isInside) n.outputs.forEach((value) => inside.add(value));
    return isInside;
  });
  const used = [...nodes.flatMap(dependencies), ...graph.outputs].filter(
    (value): value is Value => value !== undefined && !inside.has(value),
  );
  const body = { nodes, captured: [...new Set(used)] };
  bodies.set(graph, body);
  return body;
}

/** A node's inputs, those that its subgraphs capture included. */
export function dependencies(of: GraphNode): readonly (Value | undefined)[] {
  const graphs = Object.values(of.attributes).flatMap((attribute) => ('graph' in attribute ? [attribute.graph] : []));
  return graphs.length === 0 ? of.inputs : [...of.inputs, ...graphs.flatMap((graph) => bodyOf(graph).captured)];
}
