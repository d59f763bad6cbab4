import { elementCount } from '@alignprop/autograd-ext';
import type { MergedAdapter } from '../lora-state.js';
import { misfit, type AdapterKind } from './adapter-kind.js';
import type { AdapterPart, AdapterParts } from './adapter-part.js';
import { readMagnitude, withMagnitude } from './magnitude.js';
import { productSize, readProduct, type Factors } from './product.js';

const marks = [
  'hada_w1_a',
  'hada_w1_b',
  'hada_w2_a',
  'hada_w2_b',
  'hada_t1',
  'hada_t2',
] as const satisfies AdapterPart[];

/**
 * LoHa (Hyeon-Woo et al. 2021, "FedPara"; LyCORIS, peft): W + α/r·(w1_a·w1_b)⊙(w2_a·w2_b), of convolutions also as a
 * Tucker decomposition.
 */
export const loha: AdapterKind = {
  name: 'LoHa',
  marks,
  others: ['alpha', 'dora_scale'],
  read: (parts, { alphaOf }): MergedAdapter => {
    const [first, second] = [factors(parts, 1), factors(parts, 2)];
    const [size1, size2] = [productSize(first), productSize(second)];
    if (!size1 || size1.rows !== size2?.rows || size1.width !== size2.width)
      throw new Error('has LoHa factors whose shapes do not go together');
    const { rows, width, r } = size1;
    const scale = alphaOf(r) / r;
    const change = {
      misfit: (shape: readonly number[]) =>
        rows === shape[0] && rows * width === elementCount(shape) ? undefined : misfit('LoHa', [rows, width], shape),
      apply: async (weight: Float32Array, _: readonly number[], strength: number) => {
        const [one, two] = [await readProduct(first), await readProduct(second)];
        const [row1, row2] = [new Float64Array(width), new Float64Array(width)];
        for (let o = 0; o < rows; o++) {
          one.row(o, row1);
          two.row(o, row2);
          for (let i = 0; i < width; i++) weight[o * width + i]! += strength * scale * row1[i]! * row2[i]!;
        }
      },
    };
    return { kind: 'merged', weight: withMagnitude(change, readMagnitude(parts)) };
  },
};

function factors(parts: AdapterParts, n: 1 | 2): Factors {
  const [left, right, core] = [parts[`hada_w${n}_a`], parts[`hada_w${n}_b`], parts[`hada_t${n}`]];
  if (left && right) return { left, right, ...(core && { core }) };
  throw new Error(`lacks hada_w${n}_${left ? 'b' : 'a'}`);
}
