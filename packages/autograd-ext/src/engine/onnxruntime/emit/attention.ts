import type { AttentionAttrs } from '../../../ops/attention-heads.js';
import { constant, integers, microsoft, node, nodeOutputs, type Graph, type Value } from '../graph.js';
import { recordKernel } from '../recorder.js';
import { plain, plainView, reshaped } from '../view.js';
import { scalar } from './elementwise.js';

/** The scores that the gradient computes again at once, all heads together, in bytes. */
const blockBytes = 2 ** 25;

recordKernel<AttentionAttrs>('ScaledDotProductAttention', ({ q, k, v }, attrs) => plainView(attention(plain(q!), plain(k!), plain(v!), attrs)));

function attention(q: Value, k: Value, v: Value, { heads, scale, causal }: AttentionAttrs): Value {
  const attributes = { num_heads: { int: heads }, scale: { float: scale }, ...(causal && { unidirectional: { int: 1 } }) };
  return node('MultiHeadAttention', [q, k, v], q.shape, { domain: microsoft, attributes });
}

/** One block of queries, of all heads. */
interface Block {
  readonly q: Value; // [B, H, n, d], scaled
  readonly dy: Value; // [B, H, n, d]
  readonly delta: Value; // [B, H, n, 1]: sums of dy · y
}

/** What all blocks share. */
interface Keys {
  readonly k: Value; // [B, H, M, d]
  readonly v: Value; // [B, H, M, d]
  readonly mask?: Value; // [N, M]
}

// With P the probabilities: dV = Pᵀ·dY, dS = P ∘ (dY·Vᵀ - rowsum(dY ∘ Y)), dQ = s·dS·K, dK = s·dSᵀ·Q.
// The scores are computed again, block by block of queries, so that memory does not grow with their number.
recordKernel<AttentionAttrs>('ScaledDotProductAttentionGrad', (inputs, attrs) => {
  const [q, k, v, dy] = [inputs.q!, inputs.k!, inputs.v!, inputs.dy!].map(plain) as [Value, Value, Value, Value];
  const { heads, scale } = attrs;
  const [batch, queries, channels] = q.shape as [number, number, number];
  const keys = k.shape[1]!;
  const width = channels / heads;
  const y = attention(q, k, v, attrs);
  const delta = sumLast(reshaped(mul(dy, y, dy.shape), [batch, queries, heads, width])); // [B, N, H, 1]
  const scaled = mul(q, scalar(scale), q.shape);
  const shared: Keys = { k: splitHeads(k, heads), v: splitHeads(v, heads), ...(attrs.causal && { mask: causalMask(queries, keys) }) };
  const rows = attrs.causal ? queries : blockRows(queries, batch * heads * keys * 4);
  const blocks = queries / rows;
  const inBlocks = (x: Value, depth: number) => transpose(reshaped(x, [batch, blocks, rows, heads, depth]), [1, 0, 3, 2, 4]); // [blocks, B, H, n, depth]
  const all = [inBlocks(scaled, width), inBlocks(dy, width), inBlocks(delta, 1)] as const;
  const { dq, dk, dv } = blocks === 1 ? single(all, shared) : scan(all, shared);
  const dQ = mul(reshaped(transpose(dq, [1, 0, 3, 2, 4]), q.shape), scalar(scale), q.shape);
  const joined = [dQ, mergeHeads(dk), mergeHeads(dv)];
  return plainView(node('Concat', joined, [batch, queries + 2 * keys, channels], { attributes: { axis: { int: 1 } } }));
});

interface Gradients {
  readonly dq: Value; // [blocks, B, H, n, d]
  readonly dk: Value; // [B, H, M, d]
  readonly dv: Value;
}

function single([q, dy, delta]: readonly [Value, Value, Value], keys: Keys): Gradients {
  const [first, second, third] = [q, dy, delta].map((x) => reshaped(x, x.shape.slice(1))) as [Value, Value, Value];
  const { dq, dk, dv } = blockGradients({ q: first, dy: second, delta: third }, keys);
  return { dq: reshaped(dq, q.shape), dk, dv };
}

function scan(blocks: readonly [Value, Value, Value], keys: Keys): Gradients {
  const shape = keys.k.shape;
  const state = ['scan.dk', 'scan.dv'].map((name) => input(name, shape));
  const slices = ['scan.q', 'scan.dy', 'scan.delta'].map((name, i) => input(name, blocks[i]!.shape.slice(1)));
  const { dq, dk, dv } = blockGradients({ q: slices[0]!, dy: slices[1]!, delta: slices[2]! }, keys);
  const body: Graph = { inputs: [...state, ...slices], outputs: [add(state[0]!, dk), add(state[1]!, dv), dq] };
  const zeros = constant(0, shape);
  const outputs = [{ shape, dtype: 'float32' }, { shape, dtype: 'float32' }, { shape: blocks[0].shape, dtype: 'float32' }] as const;
  const [dkAll, dvAll, dqAll] = nodeOutputs('Scan', [zeros, zeros, ...blocks], outputs, { attributes: { num_scan_inputs: { int: 3 }, body: { graph: body } } });
  return { dq: dqAll!, dk: dkAll!, dv: dvAll! };
}

function blockGradients({ q, dy, delta }: Block, { k, v, mask }: Keys): Gradients {
  const scores = matMul(q, transpose(k, [0, 1, 3, 2])); // [B, H, n, M]
  const p = softmax(mask ? node('Add', [scores, mask], scores.shape) : scores);
  const dp = matMul(dy, transpose(v, [0, 1, 3, 2]));
  const ds = mul(p, node('Sub', [dp, delta], dp.shape), p.shape);
  return { dq: matMul(ds, k), dk: matMul(transpose(ds, [0, 1, 3, 2]), q), dv: matMul(transpose(p, [0, 1, 3, 2]), dy) };
}

/** The largest divisor of the queries whose scores fit into a block. */
function blockRows(queries: number, bytesPerQuery: number): number {
  const most = Math.max(1, Math.floor(blockBytes / bytesPerQuery));
  for (let rows = Math.min(most, queries); rows > 1; rows--) if (queries % rows === 0) return rows;
  return 1;
}

const input = (name: string, shape: readonly number[]): Value => ({ shape, dtype: 'float32', source: { kind: 'input', name } });
const splitHeads = (x: Value, heads: number): Value => {
  const [batch, length, channels] = x.shape as [number, number, number];
  return transpose(reshaped(x, [batch, length, heads, channels / heads]), [0, 2, 1, 3]);
};
const mergeHeads = (x: Value): Value => {
  const [batch, heads, length, width] = x.shape as [number, number, number, number];
  return reshaped(transpose(x, [0, 2, 1, 3]), [batch, length, heads * width]);
};
const causalMask = (queries: number, keys: number): Value => {
  const values = Float32Array.from({ length: queries * keys }, (_, i) => (i % keys <= Math.floor(i / keys) ? 0 : -1e30));
  return constant(values, [queries, keys]);
};
const transpose = (x: Value, perm: readonly number[]): Value => node('Transpose', [x], perm.map((axis) => x.shape[axis]!), { attributes: { perm: { ints: perm } } });
const matMul = (a: Value, b: Value): Value => node('MatMul', [a, b], [...a.shape.slice(0, -1), b.shape.at(-1)!]);
const softmax = (x: Value): Value => node('Softmax', [x], x.shape, { attributes: { axis: { int: -1 } } });
const mul = (a: Value, b: Value, shape: readonly number[]): Value => node('Mul', [a, b], shape);
const add = (a: Value, b: Value): Value => node('Add', [a, b], a.shape);
const sumLast = (x: Value): Value => node('ReduceSum', [x, integers([x.shape.length - 1])], [...x.shape.slice(0, -1), 1], { attributes: { keepdims: { int: 1 } } });
