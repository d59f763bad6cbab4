import { elementCount, type StoredTensor } from '@alignprop/autograd-ext';
import type { LowRankAdapter } from '../lora-state.js';
import type { WeightChange } from '../weight-change.js';
import type { AdapterKind } from './adapter-kind.js';
import type { AdapterParts } from './adapter-part.js';
import { difference } from './full-difference.js';
import { readMagnitude } from './magnitude.js';
import { contractCore } from './product.js';

/**
 * LoRA (Hu et al. 2021), LoCon (LoRA of convolutions, Yeh et al. 2023, "LyCORIS", section 3), its CP decomposition
 * with `lora_mid`, and DoRA. A file may also change the bias: peft's `lora_B.bias`, times α/r, or a plain difference.
 */
export const lowRank: AdapterKind = {
  name: 'LoRA',
  marks: ['lora_A', 'lora_B', 'lora_mid', 'lora_B.bias', 'lora_magnitude_vector'],
  others: ['alpha', 'dora_scale', 'diff_b'],
  read: (parts, { alphaOf, baseChange, useDora }): LowRankAdapter => {
    const { lora_A: down, lora_B: b, lora_mid: mid } = parts;
    const a = mid && down ? foldMid(mid, down) : down;
    const r = a?.shape[0] ?? 1;
    const alpha = alphaOf(r);
    const magnitude = readMagnitude(parts);
    if (useDora && !magnitude) throw new Error("lacks DoRA's lora_magnitude_vector");
    const base = baseChange(r, alpha / r);
    const bias = biasChange(parts, alpha / r);
    return {
      kind: magnitude ? 'dora' : 'lora',
      ...(a && { a }),
      ...(b && { b }),
      alpha,
      ...(magnitude && { magnitude }),
      ...(base && { baseChange: base }),
      ...(bias && { bias }),
    };
  },
};

/**
 * Returns A with the kernel of `lora_mid` in it, `[r, in, kh, kw]`: mid `[r, r, kh, kw]` after down `[r, in, 1, 1]`
 * are one convolution.
 */
function foldMid(mid: StoredTensor, down: StoredTensor): StoredTensor {
  const [r, r2, ...kernel] = mid.shape;
  const inputs = elementCount(down.shape) / down.shape[0]!;
  if (r === undefined || r !== r2 || r !== down.shape[0] || inputs !== down.shape[1])
    throw new Error(`has lora_mid [${mid.shape}] and lora_down [${down.shape}], expected [r, r, kh, kw] and [r, in]`);
  return {
    shape: [r, inputs, ...kernel],
    dtype: 'F32',
    read: async () => Float32Array.from(contractCore(await mid.read(), await down.read(), r)),
  };
}

function biasChange({ 'lora_B.bias': bias, diff_b: diff }: AdapterParts, scale: number): WeightChange | undefined {
  if (bias && diff) throw new Error('has two changes of the bias (lora_B.bias and diff_b), expected one');
  return bias ? difference('lora_B.bias', bias, scale) : diff && difference('diff_b', diff, 1);
}
