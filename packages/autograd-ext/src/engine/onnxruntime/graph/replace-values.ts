import { bodyOf, dependencies, nodesOf, type Attribute, type GraphNode, type Value } from './graph.js';

/** The same outputs, computed from other values where these are given. */
export function replaceValues(outputs: readonly Value[], given: ReadonlyMap<Value, Value>): Value[] {
  const made = new Map(given);
  const now = (value: Value) => made.get(value) ?? value;
  for (const node of nodesOfUntil(outputs, given)) {
    const values: Value[] = [];
    const again: GraphNode = {
      ...node,
      inputs: node.inputs.map((value) => value && now(value)),
      attributes: withCaptured(node.attributes, now),
      outputs: values,
    };
    for (const output of node.outputs) {
      const value: Value = { shape: output.shape, dtype: output.dtype, source: { kind: 'node', node: again } };
      values.push(value);
      made.set(output, value);
    }
  }
  return outputs.map(now);
}

/** The nodes behind values, as far as to those that are given. */
function nodesOfUntil(outputs: readonly Value[], given: ReadonlyMap<Value, Value>): GraphNode[] {
  const needed = new Set<GraphNode>();
  const order = nodesOf(outputs);
  const wanted = new Set<Value>(outputs);
  for (const node of [...order].reverse()) {
    if (!node.outputs.some((value) => wanted.has(value) && !given.has(value))) continue;
    needed.add(node);
    for (const value of dependencies(node)) if (value && !given.has(value)) wanted.add(value);
  }
  return order.filter((node) => needed.has(node));
}

/** The attributes with subgraphs that capture other values. */
function withCaptured(attributes: GraphNode['attributes'], now: (value: Value) => Value): GraphNode['attributes'] {
  return Object.fromEntries(
    Object.entries(attributes).map(([key, attribute]): [string, Attribute] => {
      if (!('graph' in attribute)) return [key, attribute];
      const { inputs, outputs } = attribute.graph;
      const captured = bodyOf(attribute.graph).captured.map((value) => [value, now(value)] as const);
      return [key, { graph: { inputs, outputs: replaceValues(outputs, new Map(captured)) } }];
    }),
  );
}
