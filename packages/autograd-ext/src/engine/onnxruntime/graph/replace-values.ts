import { bodyOf, dependencies, nodesOf, type Attribute, type Graph, type GraphNode, type Value } from './graph.js';

/** Rebuilds the outputs with some values replaced by others. Nodes behind replaced values are not visited. */
export function replaceValues(outputs: readonly Value[], replacements: ReadonlyMap<Value, Value>): Value[] {
  const current = new Map(replacements);
  const now = (value: Value) => current.get(value) ?? value;
  for (const node of nodesDownTo(outputs, replacements)) {
    const rebuilt = rebuild(node, now);
    node.outputs.forEach((output, i) => current.set(output, rebuilt.outputs[i]!));
  }
  return outputs.map(now);
}

/**
 * Rebuilds the outputs and lets `replace` substitute nodes on the way.
 * @param replace receives each node with its inputs already rewritten, inputs before users. Returns the values to use
 * instead of the node's outputs, or undefined to keep the node.
 */
export function replaceNodes(
  outputs: readonly Value[],
  replace: (node: GraphNode) => Value | readonly Value[] | undefined,
): Value[] {
  const current = new Map<Value, Value>();
  const now = (value: Value) => current.get(value) ?? value;
  for (const node of nodesOf(outputs)) {
    const rebuilt = rebuild(node, now);
    const replacements = [replace(rebuilt) ?? rebuilt.outputs].flat();
    node.outputs.forEach((output, i) => current.set(output, replacements[i]!));
  }
  return outputs.map(now);
}

/** Returns a subgraph's outputs for other inputs. */
export function applyBody(body: Graph, inputs: readonly Value[]): Value[] {
  const current = new Map(body.inputs.map((value, i) => [value, inputs[i]!]));
  const now = (value: Value) => current.get(value) ?? value;
  for (const node of bodyOf(body).nodes) {
    const rebuilt = rebuild(node, now);
    node.outputs.forEach((output, i) => current.set(output, rebuilt.outputs[i]!));
  }
  return body.outputs.map(now);
}

/** The same node on other inputs; the node itself if none of its inputs changes. */
function rebuild(node: GraphNode, now: (value: Value) => Value): GraphNode {
  if (dependencies(node).every((value) => !value || now(value) === value)) return node;
  const outputs: Value[] = [];
  const rebuilt: GraphNode = {
    ...node,
    inputs: node.inputs.map((value) => value && now(value)),
    attributes: withCaptured(node.attributes, now),
    outputs,
  };
  for (const { shape, dtype } of node.outputs) outputs.push({ shape, dtype, source: { kind: 'node', node: rebuilt } });
  return rebuilt;
}

/** The nodes behind the outputs in topological order, without those that only replaced values need. */
function nodesDownTo(outputs: readonly Value[], replacements: ReadonlyMap<Value, Value>): GraphNode[] {
  const order = nodesOf(outputs);
  const needed = new Set<GraphNode>();
  const wanted = new Set<Value>(outputs);
  for (const node of [...order].reverse()) {
    if (!node.outputs.some((value) => wanted.has(value) && !replacements.has(value))) continue;
    needed.add(node);
    for (const value of dependencies(node)) if (value && !replacements.has(value)) wanted.add(value);
  }
  return order.filter((node) => needed.has(node));
}

/** Rewrites the captured values of subgraphs. */
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
