import {
  bodyOf,
  bytesOf,
  constantNodes,
  dependencies,
  nodesOf,
  sumOf,
  type Attribute,
  type Graph,
  type GraphNode,
  type Value,
} from '../graph/graph.js';
import { elementCount } from '../../../params.js';

/** The memory that a session needs, in bytes. */
export interface GraphMemory {
  /** The peak of the intermediate results during a run, without the outputs. */
  readonly activations: number;
  /** The outputs of the graph. */
  readonly outputs: number;
  /** The weights that nodes read, by leaf: sessions share the memory that they map. */
  readonly weights: ReadonlyMap<object, number>;
  /**
   * Values that depend on weights and constants alone: with `relayout` a session computes them when it starts, and
   * keeps them.
   */
  readonly folded: number;
  readonly nodes: number;
}

/**
 * Predicts the memory that ONNX Runtime needs for a graph by repeating its run order and its planning of buffers. Runs
 * nothing.
 * @param options.relayout as `SessionOptions.relayout`
 */
export function graphMemory(graph: Graph, { relayout = false }: { relayout?: boolean } = {}): GraphMemory {
  const all = nodesOf(graph.outputs);
  const constants = relayout ? constantNodes(all) : new Set<GraphNode>();
  const nodes = runOrder(
    all.filter((node) => !constants.has(node)),
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
    outputs: sumOf(graph.outputs.map(bytesOf)),
    weights: leaves,
    folded: sumOf(
      [...used].map((value) =>
        value?.source.kind === 'node' && constants.has(value.source.node) ? bytesOf(value) : 0,
      ),
    ),
    nodes: nodes.length,
  };
}

/**
 * The order in which ONNX Runtime runs nodes: depth first from the nodes whose results no other node uses, the last of
 * them first, and from each node to its producers, again the last one first. Fused operators, which ONNX Runtime counts
 * as last, are ignored.
 * @param relayout whether convolutions are rearranged: they then become new nodes, which count as last
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
  const used = new Set(nodes.flatMap(sourcesOf));
  const stack = nodes
    .filter((node) => !used.has(node))
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

/** A block of memory that holds one result after another. */
interface Buffer {
  readonly bytes: number;
  /** Shape and size: ONNX Runtime reuses a buffer for a result of the same key only. */
  readonly key: string;
  /** The index of the node that allocates it. */
  readonly from: number;
  /** The index of the last node that reads it. */
  to: number;
  /** The number of reads that are still to come. */
  uses: number;
}

// Operators whose result shares the memory of their first input.
const aliases = new Set(['Reshape', 'Identity', 'Squeeze', 'Unsqueeze', 'Flatten']);
// Operators that may overwrite an input that no other node reads.
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

/** Assigns buffers like ONNX Runtime's planner and returns the peak of their sum. */
function peakOf(nodes: readonly GraphNode[], { outputs }: Graph, relayout: boolean): number {
  const returned = new Set(outputs);
  const uses = new Map<Value, number>();
  for (const node of nodes)
    for (const value of dependencies(node)) if (value) uses.set(value, (uses.get(value) ?? 0) + 1);
  const buffers = new Map<Value, Buffer>();
  const allocated: Buffer[] = [];
  const free: Buffer[] = []; // the most recently freed last
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
    allocated.push(buffer);
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
  return peakOver(nodes, allocated, relayout);
}

/** The largest sum over time of the buffers in use and the scratch memory of the running node. */
function peakOver(nodes: readonly GraphNode[], buffers: readonly Buffer[], relayout: boolean): number {
  const change = new Float64Array(nodes.length + 1);
  for (const { bytes, from, to } of buffers) {
    change[from]! += bytes;
    change[to + 1]! -= bytes;
  }
  let live = 0;
  return nodes.reduce((peak, node, at) => Math.max(peak, (live += change[at]!) + scratch(node, relayout)), 0);
}

/** The temporary memory of a node while it runs. */
function scratch({ op, inputs, attributes }: GraphNode, relayout: boolean): number {
  if (op === 'Conv' && relayout) return bytesOf(inputs[0]!); // the image in blocks of channels
  // queries, keys and values by heads
  if (op === 'MultiHeadAttention') return sumOf(inputs.slice(0, 3).map((value) => (value ? bytesOf(value) : 0)));
  if (op === 'ConvTranspose') {
    const [x, weight] = inputs as [Value, Value];
    return 4 * elementCount(weight.shape.slice(1)) * elementCount(x.shape.slice(2)); // the image as columns (im2col)
  }
  return sumOf(
    Object.values(attributes).map((attribute: Attribute) => ('graph' in attribute ? bodyMemory(attribute.graph) : 0)),
  );
}

/** The memory of one iteration of a loop. */
function bodyMemory(graph: Graph): number {
  return peakOf(bodyOf(graph).nodes, graph, false) + sumOf(graph.outputs.map(bytesOf));
}
