import type { GraphAttribute, GraphNode } from './topology.js';

const unfused = new Map(
  Object.entries({
    _FusedConv2D: 'Conv2D',
    FusedDepthwiseConv2dNative: 'DepthwiseConv2dNative',
    _FusedMatMul: 'MatMul',
  }),
);
const activations = ['Relu', 'Relu6', 'Elu', 'Sigmoid', 'LeakyRelu', 'Prelu'];

/**
 * Splits a fused node into a product, a bias and an activation. tfjs differentiates fused nodes with respect to all
 * inputs, frozen weights included, which doubles the time of the gradient.
 */
export function unfuse(node: GraphNode): GraphNode[] {
  const op = unfused.get(node.op);
  const { name, input = [], attr = {} } = node;
  const fused = (attr['fused_ops']?.list?.s ?? []).map(decode);
  const isChannelsLast = decode(attr['data_format']?.s ?? '') !== 'NCHW';
  if (!op || !isChannelsLast || !fused.every((part) => part === 'BiasAdd' || activations.includes(part))) return [node];
  const further = input.slice(2);
  const chain: Omit<GraphNode, 'name'>[] = [{ op, input: input.slice(0, 2), attr }];
  for (const part of fused) {
    const operands = part === 'BiasAdd' || part === 'Prelu' ? [further.shift()!] : [];
    chain.push({ op: part, input: operands, attr: attributes(part, attr) });
  }
  const nameOf = (i: number) => (i === chain.length - 1 ? name : `${name}/unfused_${i}`);
  const controlInputs = further.filter((name) => name.startsWith('^'));
  return chain.map((link, i) => ({
    ...link,
    name: nameOf(i),
    input: i === 0 ? [...link.input!, ...controlInputs] : [nameOf(i - 1), ...link.input!],
  }));
}

function attributes(
  op: string,
  attr: Readonly<Record<string, GraphAttribute>>,
): Readonly<Record<string, GraphAttribute>> {
  if (op !== 'LeakyRelu') return { ...(attr['T'] && { T: attr['T'] }) };
  return { alpha: attr['leakyrelu_alpha'] ?? { f: 0.2 } };
}

const decode = (text: string) => atob(text);
