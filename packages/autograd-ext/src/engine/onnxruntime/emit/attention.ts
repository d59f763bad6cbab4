import type { AttentionAttrs } from '../../../kernels/fused/attention.js';
import { constant, integers, microsoft, node, nodeOutputs, type Graph, type Value } from '../graph/graph.js';
import { registerKernelEmitter } from '../recorder/recorder.js';
import { plain, plainView, reshaped } from '../recorder/view.js';
import { scalar } from './elementwise.js';

/**
 * Scores that the gradient computes again at once, in bytes: of all heads where they fit, else of a block of one head's
 * queries, which stays in cache.
 */
const allHeadsBytes = 2 ** 25;
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

/** One head, `[N, d]`, or all, `[B, heads, N, d]`. */
interface Head {
  readonly q: Value; // [..., N, d], scaled
  readonly k: Value; // [..., M, d]
  readonly v1: Value; // [..., M, d + 1]: v, and a column of ones
  readonly dy: Value; // [..., N, d]
  readonly delta: Value; // [..., N, 1]: sums of -dy · y
}

interface HeadGradients {
  readonly dq: Value; // [..., N, d]
  readonly dk: Value; // [..., d, M], transposed, as dv
  readonly dv: Value;
}

// With P the probabilities: dV = Pᵀ·dY, dS = P ∘ (dY·Vᵀ - rowsum(dY ∘ Y)), dQ = s·dS·K, dK = s·dSᵀ·Q.
// The scores are computed again, head by head and block by block, so that memory does not grow with their number.
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
  const all: Head = {
    q: qs,
    k: ks,
    v1: beside(vs, constant(1, [batch, heads, keys, 1])),
    dy: dys,
    delta: transpose(delta, [0, 2, 1, 3]),
  };
  const isSmall = batch * heads * queries * keys * 4 <= allHeadsBytes || attrs.causal;
  const { dq, dk, dv } = isSmall
    ? headGradients(all, attrs.causal ? causalMask(queries, keys) : undefined)
    : headByHead(all);
  const joined = [
    mul(mergeHeads(dq, [0, 2, 1, 3]), scalar(scale)),
    mergeHeads(dk, [0, 3, 1, 2]),
    mergeHeads(dv, [0, 3, 1, 2]),
  ];
  return plainView(node('Concat', joined, [batch, queries + 2 * keys, channels], { attributes: { axis: { int: 1 } } }));
});

/**
 * The sums are taken off within the product, as one more column; and no product transposes scores, which takes far
 * longer than it.
 */
function headGradients({ q, k, v1, dy, delta }: Head, mask?: Value): HeadGradients {
  const scores = matMul(q, swapped(k)); // [..., N, M]
  const p = softmax(mask ? add(scores, mask) : scores);
  const ds = mul(p, matMul(beside(dy, delta), swapped(v1)));
  return { dq: matMul(ds, k), dk: matMul(swapped(q), ds), dv: matMul(swapped(dy), p) };
}

function headByHead({ q, k, v1, dy, delta }: Head): HeadGradients {
  const all = [q, k, v1, dy, delta].map((value) =>
    reshaped(value, [value.shape[0]! * value.shape[1]!, ...value.shape.slice(2)]),
  );
  const one = all.map((value, i) => input(`head.${i}`, value.shape.slice(1))) as [Value, Value, Value, Value, Value];
  const gradients = blockByBlock({ q: one[0], k: one[1], v1: one[2], dy: one[3], delta: one[4] });
  const results = scan({ inputs: one, outputs: [gradients.dq, gradients.dk, gradients.dv] }, [], all);
  const [dq, dk, dv] = results.map((value) => reshaped(value, [...q.shape.slice(0, 2), ...value.shape.slice(1)])) as [
    Value,
    Value,
    Value,
  ];
  return { dq, dk, dv };
}

/**
 * Of one head `[N, d]`: the gradients of k and v are summed up over blocks of queries. Queries of zeros fill up the
 * last block, and add nothing.
 */
function blockByBlock({ q, k, v1, dy, delta }: Head): HeadGradients {
  const [queries, width] = q.shape as [number, number];
  const keys = k.shape[0]!;
  const blocks = Math.ceil((queries * keys * 4) / blockBytes);
  const rows = Math.ceil(queries / blocks);
  const inBlocks = (x: Value) => reshaped(padRows(x, blocks * rows), [blocks, rows, x.shape[1]!]);
  const all = [inBlocks(q), inBlocks(dy), inBlocks(delta)];
  const one = all.map((value, i) => input(`block.${i}`, value.shape.slice(1))) as [Value, Value, Value];
  const sums = ['sum.dk', 'sum.dv'].map((name) => input(name, [width, keys])) as [Value, Value];
  const gradients = headGradients({ q: one[0], k, v1, dy: one[1], delta: one[2] });
  const body: Graph = {
    inputs: [...sums, ...one],
    outputs: [add(sums[0], gradients.dk), add(sums[1], gradients.dv), gradients.dq],
  };
  const [dk, dv, dq] = scan(body, [constant(0, [width, keys]), constant(0, [width, keys])], all);
  return { dq: firstRows(reshaped(dq!, [blocks * rows, width]), queries), dk: dk!, dv: dv! };
}

/** Runs a body once for each entry of the inputs' first axis: what it returns besides the new state is stacked up. */
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
/** `[B, N, C]` to `[B, heads, N, C/heads]`. */
const splitHeads = (x: Value, heads: number): Value => {
  const [batch, length, channels] = x.shape as [number, number, number];
  return transpose(reshaped(x, [batch, length, heads, channels / heads]), [0, 2, 1, 3]);
};
/** To `[B, N, C]`; `order` has `[B, N, heads, C/heads]`. */
const mergeHeads = (x: Value, order: readonly number[]): Value => {
  const split = transpose(x, order);
  const [batch, length, heads, width] = split.shape as [number, number, number, number];
  return reshaped(split, [batch, length, heads * width]);
};
const beside = (a: Value, b: Value): Value =>
  node('Concat', [a, b], [...a.shape.slice(0, -1), a.shape.at(-1)! + b.shape.at(-1)!], {
    attributes: { axis: { int: -1 } },
  });
const causalMask = (queries: number, keys: number): Value => {
  const values = Float32Array.from({ length: queries * keys }, (_, i) =>
    i % keys <= Math.floor(i / keys) ? 0 : -1e30,
  );
  return constant(values, [queries, keys]);
};
const transpose = (x: Value, perm: readonly number[]): Value =>
  node(
    'Transpose',
    [x],
    perm.map((axis) => x.shape[axis]!),
    { attributes: { perm: { ints: perm } } },
  );
const swapped = (x: Value): Value => transpose(x, x.shape.length === 2 ? [1, 0] : [0, 1, 3, 2]);
const matMul = (a: Value, b: Value): Value => node('MatMul', [a, b], [...a.shape.slice(0, -1), b.shape.at(-1)!]);
const softmax = (x: Value): Value => node('Softmax', [x], x.shape, { attributes: { axis: { int: -1 } } });
const mul = (a: Value, b: Value): Value => node('Mul', [a, b], a.shape);
const add = (a: Value, b: Value): Value => node('Add', [a, b], a.shape);
const sumLast = (x: Value): Value =>
  node('ReduceSum', [x, integers([x.shape.length - 1])], [...x.shape.slice(0, -1), 1], {
    attributes: { keepdims: { int: 1 } },
  });
