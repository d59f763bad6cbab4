import type { AttentionAttrs } from '../../../kernels/fused/attention.js';
import { constant, integers, microsoft, node, nodeOutputs, type Graph, type Value } from '../graph/graph.js';
import { registerKernelEmitter } from '../recorder/recorder.js';
import { plain, plainView, reshaped } from '../recorder/view.js';
import { causalMask, mergeHeads, softmax, splitHeads, swapLast } from './attention-heads.js';
import { add, matMulValues, mul, scalar, sumLast, transpose } from './builders.js';

// Attention as ONNX Runtime's fused operator; its gradient recomputes the scores, in blocks if they are large.

/** The largest scores of all heads, in bytes, that the gradient recomputes at once. */
const allHeadsBytes = 2 ** 25;
/** The size of the blocks of scores above that limit, in bytes: a block of queries of one head that stays in cache. */
const blockBytes = 2 ** 23;

registerKernelEmitter<AttentionAttrs>('ScaledDotProductAttention', ({ q, k, v }, attrs) =>
  plainView(attention(plain(q!), plain(k!), plain(v!), attrs)),
);

function attention(q: Value, k: Value, v: Value, { heads, scale, causal }: AttentionAttrs): Value {
  const attributes = {
    num_heads: { int: heads },
    scale: { float: scale },
    ...(causal && { unidirectional: { int: 1 } }),
  };
  return node('MultiHeadAttention', [q, k, v], q.shape, { domain: microsoft, attributes });
}

/** The operands of the gradient for one head, `[N, d]`, or for all heads, `[B, heads, N, d]`. */
interface Head {
  readonly q: Value; // [..., N, d], scaled
  readonly k: Value; // [..., M, d]
  readonly v1: Value; // [..., M, d + 1]: v and a column of ones
  readonly dy: Value; // [..., N, d]
  readonly delta: Value; // [..., N, 1]: -rowsum(dY ∘ Y)
}

interface HeadGradients {
  readonly dq: Value; // [..., N, d]
  readonly dk: Value; // [..., d, M], transposed
  readonly dv: Value; // [..., d, M], transposed
}

// With P the probabilities: dV = Pᵀ·dY, dS = P ∘ (dY·Vᵀ - rowsum(dY ∘ Y)), dQ = s·dS·K, dK = s·dSᵀ·Q.
registerKernelEmitter<AttentionAttrs>('ScaledDotProductAttentionGrad', (inputs, attrs) => {
  const [q, k, v, dy] = [inputs.q!, inputs.k!, inputs.v!, inputs.dy!].map(plain) as [Value, Value, Value, Value];
  const { heads, scale } = attrs;
  const [batch, queries, channels] = q.shape as [number, number, number];
  const keys = k.shape[1]!;
  const y = attention(q, k, v, attrs);
  // [B, N, H, 1]
  const delta = sumLast(reshaped(mul(mul(dy, y), scalar(-1)), [batch, queries, heads, channels / heads]));
  const [qs, ks, vs, dys] = [mul(q, scalar(scale)), k, v, dy].map((x) => splitHeads(x, heads)) as [
    Value,
    Value,
    Value,
    Value,
  ];
  const allHeads: Head = {
    q: qs,
    k: ks,
    v1: concatColumns(vs, constant(1, [batch, heads, keys, 1])),
    dy: dys,
    delta: transpose(delta, [0, 2, 1, 3]),
  };
  const isSmall = batch * heads * queries * keys * 4 <= allHeadsBytes || attrs.causal;
  const { dq, dk, dv } = isSmall
    ? headGradients(allHeads, attrs.causal ? causalMask(queries, keys) : undefined)
    : headByHead(allHeads);
  const gradients = [
    mul(mergeHeads(dq, [0, 2, 1, 3]), scalar(scale)),
    mergeHeads(dk, [0, 3, 1, 2]),
    mergeHeads(dv, [0, 3, 1, 2]),
  ];
  return plainView(
    node('Concat', gradients, [batch, queries + 2 * keys, channels], { attributes: { axis: { int: 1 } } }),
  );
});

/**
 * Folds the subtraction of row sums into the product dY·Vᵀ as an extra column. Never transposes the scores, which takes
 * far longer than the product itself.
 */
function headGradients({ q, k, v1, dy, delta }: Head, mask?: Value): HeadGradients {
  const scores = matMulValues(q, swapLast(k)); // [..., N, M]
  const p = softmax(mask ? add(scores, mask) : scores);
  const ds = mul(p, matMulValues(concatColumns(dy, delta), swapLast(v1)));
  return { dq: matMulValues(ds, k), dk: matMulValues(swapLast(q), ds), dv: matMulValues(swapLast(dy), p) };
}

/** Loops over the heads of all examples with an ONNX Scan, and over blocks of queries within each head. */
function headByHead({ q, k, v1, dy, delta }: Head): HeadGradients {
  const stacked = [q, k, v1, dy, delta].map((value) =>
    reshaped(value, [value.shape[0]! * value.shape[1]!, ...value.shape.slice(2)]),
  );
  const head = stacked.map((value, i) => input(`head.${i}`, value.shape.slice(1))) as [
    Value,
    Value,
    Value,
    Value,
    Value,
  ];
  const gradients = blockByBlock({ q: head[0], k: head[1], v1: head[2], dy: head[3], delta: head[4] });
  const results = scan({ inputs: head, outputs: [gradients.dq, gradients.dk, gradients.dv] }, [], stacked);
  const [dq, dk, dv] = results.map((value) => reshaped(value, [...q.shape.slice(0, 2), ...value.shape.slice(1)])) as [
    Value,
    Value,
    Value,
  ];
  return { dq, dk, dv };
}

/**
 * Accumulates the gradients of k and v of one head over blocks of queries. The last block is padded with queries of
 * zeros: their dy is 0 too, so they add nothing.
 */
function blockByBlock({ q, k, v1, dy, delta }: Head): HeadGradients {
  const [queries, width] = q.shape as [number, number];
  const keys = k.shape[0]!;
  const blocks = Math.ceil((queries * keys * 4) / blockBytes);
  const rows = Math.ceil(queries / blocks);
  const inBlocks = (x: Value) => reshaped(padRows(x, blocks * rows), [blocks, rows, x.shape[1]!]);
  const stacked = [inBlocks(q), inBlocks(dy), inBlocks(delta)];
  const block = stacked.map((value, i) => input(`block.${i}`, value.shape.slice(1))) as [Value, Value, Value];
  const sums = ['sum.dk', 'sum.dv'].map((name) => input(name, [width, keys])) as [Value, Value];
  const gradients = headGradients({ q: block[0], k, v1, dy: block[1], delta: block[2] });
  const body: Graph = {
    inputs: [...sums, ...block],
    outputs: [add(sums[0], gradients.dk), add(sums[1], gradients.dv), gradients.dq],
  };
  const [dk, dv, dq] = scan(body, [constant(0, [width, keys]), constant(0, [width, keys])], stacked);
  return { dq: firstRows(reshaped(dq!, [blocks * rows, width]), queries), dk: dk!, dv: dv! };
}

/**
 * Runs a body once per entry of the inputs' first axis (ONNX Scan).
 * @param body its inputs are the state and one entry of each input; its outputs the next state and further results
 * @returns the last state and the stacked results
 */
function scan(body: Graph, state: readonly Value[], inputs: readonly Value[]): readonly Value[] {
  const count = inputs[0]!.shape[0]!;
  const outputs = body.outputs.map(({ shape, dtype }, i) => ({
    shape: i < state.length ? shape : [count, ...shape],
    dtype,
  }));
  return nodeOutputs('Scan', [...state, ...inputs], outputs, {
    attributes: { num_scan_inputs: { int: inputs.length }, body: { graph: body } },
  });
}

function padRows(x: Value, rows: number): Value {
  const [from, width] = x.shape as [number, number];
  return rows === from ? x : node('Pad', [x, integers([0, 0, rows - from, 0])], [rows, width]);
}

function firstRows(x: Value, rows: number): Value {
  return rows === x.shape[0]
    ? x
    : node('Slice', [x, integers([0]), integers([rows]), integers([0])], [rows, x.shape[1]!]);
}

const input = (name: string, shape: readonly number[]): Value => ({
  shape,
  dtype: 'float32',
  source: { kind: 'input', name },
});
const concatColumns = (a: Value, b: Value): Value =>
  node('Concat', [a, b], [...a.shape.slice(0, -1), a.shape.at(-1)! + b.shape.at(-1)!], {
    attributes: { axis: { int: -1 } },
  });
