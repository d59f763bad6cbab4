import {
  bodyOf,
  bytesOf,
  constantNodes,
  dependencies,
  nodesOf,
  type Attribute,
  type Graph,
  type GraphNode,
  type Value,
} from '../graph/graph.js';
import { elementCount } from '../../../params.js';

/** What a session needs memory for, in bytes. */
export interface GraphMemory {
  /** The most that the results of nodes take at once in a run; those that the graph returns are not among them. */
  readonly activations: number;
  /** What the graph returns. */
  readonly outputs: number;
  /** Weights that nodes read, by leaf: sessions share the pages that they map. */
  readonly weights: ReadonlyMap<object, number>;
  /** What a session computes of weights and constants when it starts, and keeps. */
  readonly folded: number;
  readonly nodes: number;
}

/** What ONNX Runtime needs memory for when it runs a graph, by the plan that it makes of buffers: nothing is run. */
export function graphMemory(graph: Graph, { relayout = false }: { relayout?: boolean } = {}): GraphMemory {
  const all = nodesOf(graph.outputs);
  const fixed = constantNodes(all);
  const nodes = runOrder(
    all.filter((node) => !fixed.has(node)),
    relayout,
  );
  const used = new Set(nodes.flatMap((node) => dependencies(node)));
  const leaves = new Map(
    [...used].flatMap((value) =>
      value?.source.kind === 'weight' ? [[value.source.leaf, bytesOf(value)] as const] : [],
    ),
  );
  return {
    activations: peakOf(nodes, graph, relayout),
    outputs: sum(graph.outputs.map(bytesOf)),
    weights: leaves,
    folded: sum(
      [...used].map((value) => (value?.source.kind === 'node' && fixed.has(value.source.node) ? bytesOf(value) : 0)),
    ),
    nodes: nodes.length,
  };
}

/**
 * The order in which ONNX Runtime runs nodes: from each node whose results no other node takes, the last first, depth
 * first to what it needs, of which the last comes first. Its own fusions, which count as last, are left out.
 * @param relayout convolutions that are laid out anew are nodes of their own, which come after all others
 */
function runOrder(nodes: readonly GraphNode[], relayout: boolean): readonly GraphNode[] {
  const index = new Map(nodes.map((node, i) => [node, relayout && node.op === 'Conv' ? nodes.length + i : i]));
  const byIndex = (a: GraphNode, b: GraphNode) => index.get(a)! - index.get(b)!;
  const sourcesOf = (node: GraphNode) => {
    const sources = dependencies(node).flatMap((value) =>
      value?.source.kind === 'node' && index.has(value.source.node) ? [value.source.node] : [],
    );
    return [...new Set(sources)].sort(byIndex);
  };
  const taken = new Set(nodes.flatMap(sourcesOf));
  const stack = nodes
    .filter((node) => !taken.has(node))
    .sort(byIndex)
    .map((node) => ({ node, done: false }));
  const seen = new Set<GraphNode>();
  const order: GraphNode[] = [];
  while (stack.length > 0) {
    const { node, done } = stack.pop()!;
    if (done) order.push(node);
    if (done || seen.has(node)) continue;
    seen.add(node);
    stack.push(
      { node, done: true },
      ...sourcesOf(node)
        .filter((source) => !seen.has(source))
        .map((source) => ({ node: source, done: false })),
    );
  }
  return order;
}

/** Memory that one result after the other may lie in. */
interface Buffer {
  readonly bytes: number;
  readonly key: string;
  readonly from: number;
  /** The last node that needs it. */
  to: number;
  uses: number;
}

// What hands on the memory of its first input, and what may write over it where nothing else needs it.
const aliases = new Set(['Reshape', 'Identity', 'Squeeze', 'Unsqueeze', 'Flatten']);
const inPlace = new Set([
  'Add',
  'Sub',
  'Mul',
  'Div',
  'Relu',
  'Sigmoid',
  'Tanh',
  'Neg',
  'Abs',
  'Sqrt',
  'Exp',
  'Log',
  'Reciprocal',
  'Clip',
  'Softmax',
  'Cast',
]);

/** Assigns buffers as ONNX Runtime's planner does, and takes the sum of those in use at each node. */
function peakOf(nodes: readonly GraphNode[], { outputs }: Graph, relayout: boolean): number {
  const returned = new Set(outputs);
  const uses = new Map<Value, number>();
  for (const node of nodes)
    for (const value of dependencies(node)) if (value) uses.set(value, (uses.get(value) ?? 0) + 1);
  const buffers = new Map<Value, Buffer>();
  const made: Buffer[] = [];
  const free: Buffer[] = []; // the latest last
  const place = (node: GraphNode, value: Value, at: number): Buffer => {
    const [first] = node.inputs;
    if (aliases.has(node.op) && buffers.has(first!)) return buffers.get(first!)!;
    const key = `${value.shape.join()} ${bytesOf(value)}`;
    const overwritten = inPlace.has(node.op)
      ? node.inputs
          .map((input) => input && buffers.get(input))
          .find((buffer) => buffer?.uses === 1 && buffer.key === key)
      : undefined;
    if (overwritten) return overwritten;
    const spare = free.findLastIndex((buffer) => buffer.key === key);
    if (spare >= 0) return free.splice(spare, 1)[0]!;
    const buffer = { bytes: bytesOf(value), key, from: at, to: at, uses: 0 };
    made.push(buffer);
    return buffer;
  };
  nodes.forEach((node, at) => {
    for (const value of node.outputs) {
      if (returned.has(value)) continue;
      const buffer = place(node, value, at);
      buffer.uses += uses.get(value) ?? 0;
      buffers.set(value, buffer);
    }
    for (const value of [...dependencies(node), ...node.outputs.filter((output) => !uses.has(output))]) {
      const buffer = value && buffers.get(value);
      if (!buffer) continue;
      if (uses.has(value)) buffer.uses--;
      buffer.to = at;
      if (buffer.uses === 0) free.push(buffer);
    }
  });
  return highest(nodes, made, relayout);
}

/** The largest sum over time of buffers, and of what each node takes for itself. */
function highest(nodes: readonly GraphNode[], buffers: readonly Buffer[], relayout: boolean): number {
  const change = new Float64Array(nodes.length + 1);
  for (const { bytes, from, to } of buffers) {
    change[from]! += bytes;
    change[to + 1]! -= bytes;
  }
  let alive = 0;
  return nodes.reduce((top, node, at) => Math.max(top, (alive += change[at]!) + scratch(node, relayout)), 0);
}

/** What a node takes while it runs. */
function scratch({ op, inputs, attributes }: GraphNode, relayout: boolean): number {
  if (op === 'Conv' && relayout) return bytesOf(inputs[0]!); // the same in blocks of channels
  // laid out by heads
  if (op === 'MultiHeadAttention') return sum(inputs.slice(0, 3).map((value) => (value ? bytesOf(value) : 0)));
  if (op === 'ConvTranspose') {
    const [x, weight] = inputs as [Value, Value];
    return 4 * elementCount(weight.shape.slice(1)) * elementCount(x.shape.slice(2)); // columns of one image
  }
  return sum(
    Object.values(attributes).map((attribute: Attribute) => ('graph' in attribute ? bodyMemory(attribute.graph) : 0)),
  );
}

/** Of one iteration. */
function bodyMemory(graph: Graph): number {
  return peakOf(bodyOf(graph).nodes, graph, false) + sum(graph.outputs.map(bytesOf));
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);
