import { excerpt, excerptList } from '@alignprop/autograd-ext/outside';
/** A GraphModel's nodes, in TensorFlow's GraphDef as JSON. */
export interface GraphDef {
  readonly node: readonly GraphNode[];
  readonly versions?: object;
}

/** An operation of a graph. */
export interface GraphNode {
  readonly name: string;
  readonly op: string;
  /** Names of nodes: `name:1` is the second output, `^name` a control dependency. */
  readonly input?: readonly string[];
  readonly attr?: Readonly<Record<string, GraphAttribute>>;
}

/** An attribute of a node. Strings are in base64. */
export interface GraphAttribute {
  readonly s?: string;
  readonly f?: number;
  readonly type?: string | number;
  readonly list?: { readonly s?: readonly string[] };
  readonly shape?: GraphShape;
}

/** A shape; -1 where any size is possible. */
export interface GraphShape {
  readonly dim?: readonly { readonly size: string | number }[];
}

/** The names of a GraphModel's outputs. */
export interface Signature {
  readonly outputs?: Readonly<Record<string, { readonly name: string }>>;
}

/** Returns the name of the node that an input refers to. */
export const nodeOf = (input: string): string => input.replace(/^\^/, '').replace(/:\d+$/, '');

/**
 * Returns the nodes that the outputs depend on, in the order of the graph.
 * @throws if a node is missing
 */
export function neededNodes(location: string, nodes: readonly GraphNode[], outputs: readonly string[]): GraphNode[] {
  const byName = new Map(nodes.map((node) => [node.name, node]));
  const needed = new Set<string>();
  const waiting = outputs.map(nodeOf);
  while (waiting.length) {
    const name = waiting.pop()!;
    if (needed.has(name)) continue;
    const node = byName.get(name);
    if (!node)
      throw new Error(
        `graphModel: '${location}' has no node '${excerpt(name)}'. Outputs are ${excerptList(finalNodes(nodes))}.`,
      );
    needed.add(name);
    waiting.push(...(node.input ?? []).map(nodeOf));
  }
  return nodes.filter(({ name }) => needed.has(name));
}

/** Returns the names of the nodes that no other node reads. */
export function finalNodes(nodes: readonly GraphNode[]): string[] {
  const read = new Set(nodes.flatMap(({ input = [] }) => input.map(nodeOf)));
  return nodes.filter(({ name, op }) => !read.has(name) && op !== 'Const' && op !== 'NoOp').map(({ name }) => name);
}
