import { concat, matMul, mul, slice, softmax, sub, sum, type Tensor, type Tensor3D } from '@tensorflow/tfjs-core';
import { defineOp } from '../define-op.js';
import { registerAttentionKernels, type AttentionAttrs } from '../kernels/fused/attention.js';
import { causalMask, mergeHeads, splitHeads } from './attention-heads.js';
import { sharedGradient } from './shared-gradient.js';

/** Options of `scaledDotProductAttention`. */
export interface AttentionOptions {
  /** Number of heads; divides the channels. */
  readonly heads: number;
  /** Query i attends to keys 0 … i only. */
  readonly causal?: boolean;
  /** Factor of the scores; `1/sqrt(C / heads)` by default. */
  readonly scale?: number;
}

type Inputs = Readonly<Record<string, Tensor>>;

/**
 * `softmax(q kᵀ · scale) v` for each head ("Attention Is All You Need", eq. 1), as
 * torch.nn.functional.scaled_dot_product_attention. The gradient recomputes the probabilities, which are larger than
 * all inputs together.
 * @param q `[B, N, C]`, where C is the number of heads times their width
 * @param k `[B, M, C]`
 * @param v `[B, M, C]`
 * @returns `[B, N, C]`
 * @throws if the heads do not divide the channels, or the shapes of q, k and v do not match
 */
export function scaledDotProductAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  { heads, causal = false, scale }: AttentionOptions,
): Tensor3D {
  const channels = q.shape.at(-1)!;
  if (channels % heads)
    throw new Error(`scaledDotProductAttention: heads got ${heads}, expected a divisor of the ${channels} channels.`);
  const shapesMatch =
    k.rank === 3 &&
    q.rank === 3 &&
    k.shape[0] === q.shape[0] &&
    k.shape[2] === channels &&
    `${k.shape}` === `${v.shape}`;
  if (!shapesMatch)
    throw new Error(
      `scaledDotProductAttention: k and v got shapes [${k.shape}] and [${v.shape}], ` +
        `expected [B, M, C] with the B and C of q [${q.shape}].`,
    );
  return attentionOp({ q, k, v }, { heads, causal, scale: scale ?? 1 / Math.sqrt(channels / heads) }) as Tensor3D;
}

const forward = ({ q, k, v }: Inputs, attrs: AttentionAttrs): Tensor =>
  mergeHeads(matMul(probabilities(q!, k!, attrs), splitHeads(v!, attrs.heads)), attrs.heads);

/** The gradients of q, k and v, concatenated along the sequence: `[B, N + 2M, C]`. */
function gradient({ q, k, v, dy }: Inputs, attrs: AttentionAttrs): Tensor {
  const split = (x: Tensor | undefined) => splitHeads(x!, attrs.heads);
  const [qs, ks, vs, dys] = [split(q), split(k), split(v), split(dy)]; // [B·heads, N or M, C/heads]
  const p = probabilities(q!, k!, attrs); // [B·heads, N, M]
  const dp = mul(p, matMul(dys, vs, false, true));
  const ds = mul(sub(dp, mul(p, sum(dp, -1, true))), attrs.scale) as Tensor3D;
  const grads = [matMul(ds, ks), matMul(ds, qs, true), matMul(p, dys, true)];
  return concat(
    grads.map((grad) => mergeHeads(grad, attrs.heads)),
    1,
  );
}

registerAttentionKernels({ forward, gradient });

const attentionOp = defineOp<AttentionAttrs>({
  name: 'ScaledDotProductAttention',
  forward,
  inputsToSave: ['q', 'k', 'v'],
  gradient: (dy, saved, attrs) => {
    const [q, k, v] = saved as [Tensor, Tensor, Tensor];
    const joint = sharedGradient(() => attentionGrad({ q, k, v, dy }, attrs)); // [B, N + 2M, C]
    const [queries, keys] = [q.shape[1]!, k.shape[1]!];
    return {
      q: () => slice(joint(), [0, 0, 0], q.shape as [number, number, number]),
      k: () => slice(joint(), [0, queries, 0], k.shape as [number, number, number]),
      v: () => slice(joint(), [0, queries + keys, 0], v.shape as [number, number, number]),
    };
  },
});

const attentionGrad = defineOp<AttentionAttrs>({ name: 'ScaledDotProductAttentionGrad', forward: gradient });

/** `[B·heads, N, M]` */
function probabilities(q: Tensor, k: Tensor, { heads, causal, scale }: AttentionAttrs): Tensor3D {
  const scores = matMul(splitHeads(mul(q, scale), heads), splitHeads(k, heads), false, true) as Tensor3D;
  return softmax(causal ? causalMask(scores) : scores);
}
