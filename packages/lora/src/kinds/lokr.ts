import { elementCount, type StoredTensor } from '@alignprop/autograd-ext';
import type { MergedAdapter } from '../lora-state.js';
import { misfit, type AdapterKind, type ModuleSettings } from './adapter-kind.js';
import type { AdapterParts } from './adapter-part.js';
import { readMagnitude, withMagnitude } from './magnitude.js';
import { productSize, readProduct, type Factors, type Product } from './product.js';

/**
 * LoKr (Yeh et al. 2023, "LyCORIS"; peft): W + scale·kron(w1, w2) over the output and input axes. Each of w1 and w2 is
 * whole, a product of two factors, or (w2 of convolutions) a Tucker decomposition.
 */
export const lokr: AdapterKind = {
  name: 'LoKr',
  marks: ['lokr_w1', 'lokr_w1_a', 'lokr_w1_b', 'lokr_w2', 'lokr_w2_a', 'lokr_w2_b', 'lokr_t2'],
  others: ['alpha', 'dora_scale'],
  read: (parts, settings): MergedAdapter => {
    const [w1, w2] = [readFactor(parts, 1), readFactor(parts, 2)];
    const [rows, width] = [w1.rows * w2.rows, w1.width * w2.width];
    const scale = scaleOf(w2.r ?? w1.r, settings);
    const change = {
      misfit: (shape: readonly number[]) =>
        rows === shape[0] && shape[1]! % w1.width === 0 && rows * width === elementCount(shape)
          ? undefined
          : misfit('LoKr', [rows, width], shape),
      apply: async (weight: Float32Array, shape: readonly number[], strength: number) =>
        addKronecker(weight, shape, await w1.read(), await w2.read(), strength * scale),
    };
    return { kind: 'merged', weight: withMagnitude(change, readMagnitude(parts)) };
  },
};

/** α/r. Where both are whole, LyCORIS' scale is 1 whatever α says; peft's is α/r with the configuration's r. */
function scaleOf(r: number | undefined, { alphaOf, rank }: ModuleSettings): number {
  const divisor = r ?? rank;
  return divisor === undefined ? 1 : alphaOf(divisor) / divisor;
}

interface Factor {
  readonly rows: number;
  readonly width: number;
  /** The rank; undefined for a whole matrix. */
  readonly r?: number;
  read(): Promise<Product>;
}

function readFactor(parts: AdapterParts, n: 1 | 2): Factor {
  const [whole, left, right] = [parts[`lokr_w${n}`], parts[`lokr_w${n}_a`], parts[`lokr_w${n}_b`]];
  if (whole) return wholeFactor(whole);
  if (!left || !right) throw new Error(`lacks lokr_w${n}${left ? '_b' : right ? '_a' : ''}`);
  const core = n === 2 ? parts.lokr_t2 : undefined;
  const factors: Factors = { left, right, ...(core && { core }) };
  const size = productSize(factors);
  if (!size) throw new Error(`has factors of lokr_w${n} whose shapes do not go together`);
  return { ...size, read: () => readProduct(factors) };
}

function wholeFactor(whole: StoredTensor): Factor {
  const [rows, ...rest] = whole.shape as [number, ...number[]];
  const width = elementCount(rest);
  return {
    rows,
    width,
    read: async () => {
      const all = await whole.read();
      return { rows, width, r: 0, row: (o, values) => values.set(all.subarray(o * width, (o + 1) * width)) };
    },
  };
}

/** Adds scale·kron(w1, w2): element [o1·O2 + o2, i1·I2 + i2, k] is w1[o1, i1]·w2[o2, i2, k]. */
function addKronecker(weight: Float32Array, shape: readonly number[], w1: Product, w2: Product, scale: number): void {
  const width = weight.length / shape[0]!; // in·kernel = I1·(I2·kernel)
  const [row1, row2] = [new Float64Array(w1.width), new Float64Array(w2.width)];
  for (let o1 = 0; o1 < w1.rows; o1++) {
    w1.row(o1, row1);
    for (let o2 = 0; o2 < w2.rows; o2++) {
      w2.row(o2, row2);
      let at = (o1 * w2.rows + o2) * width;
      for (let i1 = 0; i1 < w1.width; i1++) {
        const factor = scale * row1[i1]!;
        for (let i = 0; i < w2.width; i++) weight[at++]! += factor * row2[i]!;
      }
    }
  }
}
