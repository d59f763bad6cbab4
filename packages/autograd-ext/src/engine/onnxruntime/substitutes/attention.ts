import { causalMask, mergeHeads, softmax, splitHeads, swapLast } from '../emit/attention-heads.js';
import { add, cast, matMulValues, mul, scalar } from '../emit/builders.js';
import { integers, node, type GraphNode, type Value } from '../graph/graph.js';

/** The largest scores, in bytes, that are computed at once: what every WebGPU adapter can bind. */
const scoreBytes = 2 ** 27;

/** Attention as two products and a softmax; blocks of queries follow each other if the scores are large. */
export function composedAttention({ inputs, attributes }: GraphNode): Value {
  const [q, k, v] = inputs as [Value, Value, Value];
  const { num_heads, scale, unidirectional } = attributes as Readonly<Record<string, { int: number; float: number }>>;
  const heads = num_heads!.int;
  const scaled = cast(mul(cast(q, 'float32'), scalar(scale!.float)), q.dtype);
  const [qs, ks, vs] = [scaled, k, v].map((x) => splitHeads(x, heads)) as [Value, Value, Value];
  const [batch, , queries] = qs.shape as [number, number, number, number];
  const keys = ks.shape[2]!;
  const rows = Math.max(1, Math.min(queries, Math.floor(scoreBytes / (batch * heads * keys * 4))));
  const blocks = Array.from({ length: Math.ceil(queries / rows) }, (_, i) => {
    const [first, end] = [i * rows, Math.min((i + 1) * rows, queries)];
    const mask = unidirectional && causalMask(end - first, keys, first);
    return attended(rowsOf(qs, first, end), ks, vs, mask);
  });
  return mergeHeads(concatRows(blocks), [0, 2, 1, 3]);
}

/** Computes `softmax(q·kᵀ + mask)·v`, the softmax in float32. */
function attended(q: Value, k: Value, v: Value, mask: Value | undefined): Value {
  const scores = cast(matMulValues(q, swapLast(k)), 'float32');
  return matMulValues(cast(softmax(mask ? add(scores, mask) : scores), v.dtype), v);
}

function rowsOf(x: Value, first: number, end: number): Value {
  const [batch, heads, rows, width] = x.shape as [number, number, number, number];
  return end - first === rows
    ? x
    : node('Slice', [x, integers([first]), integers([end]), integers([2])], [batch, heads, end - first, width]);
}

function concatRows(blocks: readonly Value[]): Value {
  const [{ shape }] = blocks as [Value];
  const rows = blocks.reduce((sum, block) => sum + block.shape[2]!, 0);
  return blocks.length === 1
    ? blocks[0]!
    : node('Concat', blocks, [shape[0]!, shape[1]!, rows, shape[3]!], { attributes: { axis: { int: 2 } } });
}
