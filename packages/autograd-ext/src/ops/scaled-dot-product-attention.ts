import { add, matMul, mul, reshape, softmax, sub, sum, transpose, greaterEqual, where, expandDims, range, type Tensor, type Tensor3D } from '@tensorflow/tfjs-core';
import { defineOp } from '../define-op.js';

/** How the channels are split, and what a query may see. */
export interface AttentionOptions {
  readonly heads: number;
  /** Query i sees keys 0 … i only. */
  readonly causal?: boolean;
  /** Factor of the scores; `1/sqrt(C / heads)` by default. */
  readonly scale?: number;
}

/**
 * `softmax(q kᵀ · scale) v`, head by head (Attention is all you need, eq. 1), as torch.nn.functional.scaled_dot_product_attention.
 * @param q `[B, N, C]`, C being heads times the head's width
 * @param k `[B, M, C]`
 * @param v `[B, M, C]`
 * @returns `[B, N, C]`
 * @throws if the heads do not divide the channels, or shapes do not fit
 */
export function scaledDotProductAttention(q: Tensor, k: Tensor, v: Tensor, { heads, causal = false, scale }: AttentionOptions): Tensor3D {
  const channels = q.shape.at(-1)!;
  if (channels % heads) throw new Error(`scaledDotProductAttention: heads got ${heads}, expected a divisor of the ${channels} channels.`);
  const fits = k.rank === 3 && q.rank === 3 && k.shape[0] === q.shape[0] && k.shape[2] === channels && `${k.shape}` === `${v.shape}`;
  if (!fits) throw new Error(`scaledDotProductAttention: k and v got shapes [${k.shape}] and [${v.shape}], expected [B, M, C] with the B and C of q [${q.shape}].`);
  return attentionOp({ q, k, v }, { heads, causal, scale: scale ?? 1 / Math.sqrt(channels / heads) }) as Tensor3D;
}

type AttentionAttrs = Required<AttentionOptions>;

const attentionOp = defineOp<AttentionAttrs>({
  name: 'ScaledDotProductAttention',
  forward: ({ q, k, v }, attrs) => merge(matMul(probabilities(q!, k!, attrs), split(v!, attrs)), attrs),
  inputsToSave: ['q', 'k', 'v'],
  gradient: (dy, saved, attrs) => {
    const [q, k, v] = saved as [Tensor, Tensor, Tensor];
    return {
      q: () => merge(matMul(scoreGradient(dy, q, k, v, attrs), split(k, attrs)), attrs),
      k: () => merge(matMul(scoreGradient(dy, q, k, v, attrs), split(q, attrs), true), attrs),
      v: () => merge(matMul(probabilities(q, k, attrs), split(dy, attrs), true), attrs),
    };
  },
});

/** `[B, N, C]` to `[B·heads, N, C/heads]`. */
function split(x: Tensor, { heads }: AttentionAttrs): Tensor3D {
  const [batch, length, channels] = x.shape as [number, number, number];
  return reshape(transpose(reshape(x, [batch, length, heads, channels / heads]), [0, 2, 1, 3]), [batch * heads, length, channels / heads]);
}

/** `[B·heads, N, C/heads]` to `[B, N, C]`. */
function merge(x: Tensor, { heads }: AttentionAttrs): Tensor3D {
  const [batches, length, width] = x.shape as [number, number, number];
  return reshape(transpose(reshape(x, [batches / heads, heads, length, width]), [0, 2, 1, 3]), [batches / heads, length, heads * width]);
}

function probabilities(q: Tensor, k: Tensor, attrs: AttentionAttrs): Tensor3D {
  const scores = mul(matMul(split(q, attrs), split(k, attrs), false, true), attrs.scale); // [B·heads, N, M]
  return softmax(attrs.causal ? add(scores, causalMask(q.shape[1]!, k.shape[1]!)) : scores) as Tensor3D;
}

// Large and finite: an infinite mask would turn into NaN where it meets a zero.
function causalMask(queries: number, keys: number): Tensor {
  const visible = greaterEqual(expandDims(range(0, queries), 1), expandDims(range(0, keys), 0)); // [N, M]
  return where(visible, 0, -1e30);
}

/** The gradient of `q kᵀ`, before scaling. */
function scoreGradient(dy: Tensor, q: Tensor, k: Tensor, v: Tensor, attrs: AttentionAttrs): Tensor3D {
  const p = probabilities(q, k, attrs);
  const dp = mul(matMul(split(dy, attrs), split(v, attrs), false, true), p); // [B·heads, N, M]
  return mul(sub(dp, mul(p, sum(dp, -1, true))), attrs.scale) as Tensor3D;
}
