import { nodesOf, type Attribute, type ConstantData, type Graph, type GraphNode, type Value } from './graph.js';

/** The values of one graph by those of the other that they equal. */
type Pairs = Map<Value, Value>;

/** Whether two graphs compute the same: the same operators on the same inputs, weights and constants. */
export function isSameGraph(one: Graph, other: Graph): boolean {
  return haveSameNodes(one, other, new Map());
}

function haveSameNodes(one: Graph, other: Graph, pairs: Pairs): boolean {
  if (one.inputs.length !== other.inputs.length || one.outputs.length !== other.outputs.length) return false;
  if (!one.inputs.every((value, i) => haveSameType(value, other.inputs[i]!))) return false;
  one.inputs.forEach((value, i) => pairs.set(value, other.inputs[i]!));
  // Both orders depend on the structure alone, so that equal graphs have equal nodes in equal places.
  const [nodes, others] = [nodesOf(one.outputs), nodesOf(other.outputs)];
  if (nodes.length !== others.length) return false;
  return (
    nodes.every((node, i) => isSameNode(node, others[i]!, pairs)) &&
    one.outputs.every((value, i) => isSameValue(value, other.outputs[i]!, pairs))
  );
}

function isSameNode(one: GraphNode, other: GraphNode, pairs: Pairs): boolean {
  const names = Object.keys(one.attributes);
  const isSame =
    one.op === other.op &&
    one.domain === other.domain &&
    one.inputs.length === other.inputs.length &&
    one.outputs.length === other.outputs.length &&
    names.length === Object.keys(other.attributes).length &&
    one.inputs.every((value, i) => isSameValue(value, other.inputs[i], pairs)) &&
    one.outputs.every((value, i) => haveSameType(value, other.outputs[i]!)) &&
    names.every((name) => isSameAttribute(one.attributes[name]!, other.attributes[name], pairs));
  if (isSame) one.outputs.forEach((value, i) => pairs.set(value, other.outputs[i]!));
  return isSame;
}

function isSameAttribute(one: Attribute, other: Attribute | undefined, pairs: Pairs): boolean {
  if (other === undefined) return false;
  if ('graph' in one) return 'graph' in other && haveSameNodes(one.graph, other.graph, pairs);
  return Object.keys(one).join() === Object.keys(other).join() && `${Object.values(one)}` === `${Object.values(other)}`;
}

function isSameValue(one: Value | undefined, other: Value | undefined, pairs: Pairs): boolean {
  if (one === undefined || other === undefined) return one === other;
  if (pairs.has(one)) return pairs.get(one) === other;
  if (!haveSameType(one, other) || !isSameLeaf(one.source, other.source)) return false;
  pairs.set(one, other);
  return true;
}

const haveSameType = (one: Value, other: Value): boolean =>
  one.dtype === other.dtype && one.shape.join() === other.shape.join();

/** Compares weights by identity and constants by their numbers. Inputs and nodes are paired before they are used. */
function isSameLeaf(one: Value['source'], other: Value['source']): boolean {
  if (one.kind === 'weight') return other.kind === 'weight' && one.leaf === other.leaf;
  return one.kind === 'constant' && other.kind === 'constant' && isSameData(one.data, other.data);
}

function isSameData(one: ConstantData, other: ConstantData): boolean {
  if (one === other || Object.is(one, other)) return true;
  if (typeof one === 'number' || typeof other === 'number' || one.length !== other.length) return false;
  return one.every((value, i) => Object.is(value, other[i]));
}
