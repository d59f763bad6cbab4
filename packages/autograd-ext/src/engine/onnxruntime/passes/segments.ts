import {
  bytesOf,
  constantNodes,
  dependencies,
  nodesOf,
  producerOf,
  type GraphNode,
  type Value,
} from '../graph/graph.js';

/** A function cut into segments that follow each other. */
export interface Segments {
  readonly count: number;
  /** The segment of each node, from 0. Nodes that depend on weights and constants alone have none. */
  readonly of: ReadonlyMap<GraphNode, number>;
  /** The values that a later segment reads than the one that computes them. */
  readonly boundaries: ReadonlySet<Value>;
}

/** The largest distance of a cut from its even place, relative to the length of a segment. */
const freedom = 0.9;

/**
 * Cuts a function where few bytes cross from one side to the other, so that all segments compute about as many bytes.
 * @param values the function's outputs
 * @param count the number of segments; there are fewer if the function has too few nodes
 */
export function segmentsOf(values: readonly Value[], count: number): Segments {
  const all = nodesOf(values);
  const constants = constantNodes(all);
  const nodes = all.filter((node) => !constants.has(node));
  const cuts = cutsOf(nodes, count);
  const segments = new Map(nodes.map((node, i) => [node, cuts.filter((cut) => cut <= i).length]));
  const boundaries = new Set<Value>();
  for (const node of nodes)
    for (const value of dependencies(node)) {
      const from = value?.source.kind === 'node' ? segments.get(value.source.node) : undefined;
      if (from !== undefined && from < segments.get(node)!) boundaries.add(unshaped(value!));
    }
  return { count: cuts.length + 1, of: segments, boundaries };
}

/** The value behind reshapes, which cost nothing: so the same values are not saved in two shapes. */
function unshaped(value: Value): Value {
  const producer = producerOf(value);
  const source = producer?.op === 'Reshape' ? producer.inputs[0] : undefined;
  return source?.source.kind === 'node' ? unshaped(source) : value;
}

/** The positions of the nodes before which the function is cut. */
function cutsOf(nodes: readonly GraphNode[], count: number): readonly number[] {
  const crossing = crossingBytes(nodes);
  let sum = 0;
  const computed = nodes.map(({ outputs }) => (sum += outputs.reduce((bytes, value) => bytes + bytesOf(value), 0)));
  const cuts = new Set<number>();
  for (let k = 1; k < count; k++) {
    const isNear = (i: number) => Math.abs((count * computed[i - 1]!) / sum - k) <= freedom;
    const near = nodes.map((_, i) => i).filter((i) => i > 0 && isNear(i));
    if (near.length > 0) cuts.add(near.reduce((best, i) => (crossing[i]! < crossing[best]! ? i : best)));
  }
  return [...cuts];
}

/** The bytes of the values that are computed before each position and read from there on. */
function crossingBytes(nodes: readonly GraphNode[]): readonly number[] {
  const positions = new Map(nodes.map((node, i) => [node, i]));
  const lastReads = new Map<Value, number>();
  nodes.forEach((node, i) => dependencies(node).forEach((value) => value && lastReads.set(value, i)));
  const change = Array<number>(nodes.length + 1).fill(0);
  for (const [value, last] of lastReads) {
    const at = value.source.kind === 'node' ? positions.get(value.source.node) : undefined;
    if (at === undefined) continue;
    change[at + 1]! += bytesOf(value);
    change[last + 1]! -= bytesOf(value);
  }
  let live = 0;
  return change.map((bytes) => (live += bytes));
}
