import { constant, nodesOf, type Graph, type GraphNode, type Value } from '../graph/graph.js';
import { replaceValues } from '../graph/replace-values.js';
import { elementCount } from '../../../params.js';

/** Elements of a result; larger ones are computed by each session instead of being written into the model. */
const largestResult = 2 ** 16;

/**
 * Constant folding: evaluates the nodes that depend on constants alone and replaces their results by constants.
 * @param evaluate runs a graph without inputs
 */
export async function foldConstants(
  outputs: readonly Value[],
  evaluate: (graph: Graph) => Promise<readonly ArrayLike<number>[]>,
): Promise<readonly Value[]> {
  const nodes = nodesOf(outputs);
  const constants = new Set<GraphNode>();
  const isConstant = (value: Value | undefined) =>
    value === undefined ||
    value.source.kind === 'constant' ||
    (value.source.kind === 'node' && constants.has(value.source.node));
  for (const node of nodes)
    if (!('body' in node.attributes) && node.inputs.every(isConstant) && node.outputs.every(isSmall))
      constants.add(node);
  const used = [...nodes.filter((node) => !constants.has(node)).flatMap((node) => node.inputs), ...outputs];
  const results = [...new Set(used)].filter(
    (value): value is Value => value?.source.kind === 'node' && constants.has(value.source.node),
  );
  if (results.length === 0) return outputs;
  const values = await evaluate({ inputs: [], outputs: results });
  return replaceValues(outputs, new Map(results.map((value, i) => [value, constantOf(values[i]!, value)])));
}

const isSmall = ({ shape, dtype }: Value): boolean =>
  elementCount(shape) <= largestResult && dtype !== 'int64' && dtype !== 'float16';

const constantOf = (values: ArrayLike<number>, { shape, dtype }: Value): Value =>
  constant(dtype === 'float32' ? Float32Array.from(values) : Int32Array.from(values), shape, dtype);
