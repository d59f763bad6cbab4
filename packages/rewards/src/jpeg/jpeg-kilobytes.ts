import {
  add,
  log1p,
  mul,
  neg,
  reshape,
  square,
  sum,
  tensor1d,
  tidy,
  type Tensor1D,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { checkImages, defineReward, type ModelReward } from '../reward.js';
import { jpegCoefficients } from './differentiable-jpeg.js';
import { quantizationTables } from './quantization-tables.js';

// What a blank image costs: the markers and tables, and in each macroblock of 16×16 six blocks without a coefficient,
// four of luma at 2 + 4 bits and two of chroma at 2 + 2 bits.
const HEADER_BYTES = 625;
const MACROBLOCK_BYTES = 4;
// Bits per unit of the sum below, fitted to libjpeg's sizes of 124 images at qualities 10, 50, 80 and 95.
const BITS_PER_UNIT = 2.67;
// Frequency 0 costs hardly anything where neighbours are alike, and counting it would pull colours towards grey.
const frequencies = Float32Array.from({ length: 64 }, (_, i) => (i === 0 ? 0 : 1));

/**
 * The size of each image as a JPEG file (baseline, 4:2:0, standard Huffman tables), in kilobytes of 1000 bytes, as a
 * smooth function of its pixels: (625 + 4·macroblocks + 2.67/8·Σ ½·log2(1 + 4c²)) / 1000 over the coefficients c of all
 * frequencies but 0, in quantisation steps and not rounded. ½·log2(1 + 4c²) is flat at c = 0, as an encoder's cost is,
 * and grows as the number of bits of 2c. Measured against libjpeg: see the README. For the exact size, see `jpegSize`.
 * @param images `[B, H, W, 3]` in [0, 1]
 * @param options.quality as libjpeg counts it, an integer from 1 to 100
 * @returns `[B]`
 */
export function jpegKilobytes(images: Tensor4D, { quality = 95 }: { quality?: number } = {}): Tensor1D {
  checkImages('jpegKilobytes', images);
  const [batch, height, width] = images.shape;
  const blank = HEADER_BYTES + MACROBLOCK_BYTES * Math.ceil(height / 16) * Math.ceil(width / 16);
  return tidy(() => {
    const { luma, chroma } = jpegCoefficients(images, { quality, rounding: 'none' });
    const units = [luma, ...chroma].map((c) => {
      const bits = mul(log1p(mul(square(c), 4)), mul(tensor1d(frequencies), Math.LOG2E / 2)); // [B·blocks, 64]
      return sum(reshape(bits, [batch, -1]), 1);
    });
    const bytes = add(
      mul(
        units.reduce((total, unit) => add(total, unit)),
        BITS_PER_UNIT / 8,
      ),
      blank,
    );
    return mul(bytes, 1 / 1000) as Tensor1D;
  });
}

/**
 * Rewards images that compress well: minus the estimated size in kilobytes, `jpegKilobytes`. This is the differentiable
 * form of DDPO's compressibility, −bytes/1000 at quality 95 (Black et al. 2023, section 5.1). At most
 * −0.629, the size of one blank macroblock.
 * @throws if quality is not an integer from 1 to 100
 */
export function jpegCompressibility({ quality = 95 }: { quality?: number } = {}): ModelReward {
  quantizationTables(quality); // so that a wrong quality fails here and not in the first step
  return defineReward({ params: {}, score: (_, images) => neg(jpegKilobytes(images as Tensor4D, { quality })) });
}

/**
 * Rewards images that compress badly, full of detail: the estimated size in kilobytes (DDPO's incompressibility).
 * @throws if quality is not an integer from 1 to 100
 */
export function jpegIncompressibility({ quality = 95 }: { quality?: number } = {}): ModelReward {
  quantizationTables(quality);
  return defineReward({ params: {}, score: (_, images) => jpegKilobytes(images as Tensor4D, { quality }) });
}
