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

// The size of a blank image: markers and tables, and for each macroblock of 16×16 pixels six blocks without
// coefficients, four luma blocks of 2 + 4 bits and two chroma blocks of 2 + 2 bits.
const HEADER_BYTES = 625;
const MACROBLOCK_BYTES = 4;
// Bits per unit of the sum below, fitted to the sizes of libjpeg's files of 124 images at qualities 10, 50, 80 and 95.
const BITS_PER_UNIT = 2.67;
// Leaves out frequency 0: it costs few bits where neighbouring blocks are similar, and would pull colours towards grey.
const frequencies = Float32Array.from({ length: 64 }, (_, i) => (i === 0 ? 0 : 1));

/**
 * Estimates the size of each image as a JPEG file (baseline, 4:2:0, standard Huffman tables), in kilobytes of 1000
 * bytes, by a smooth function of its pixels: (625 + 4·macroblocks + 2.67/8·Σ ½·log2(1 + 4c²)) / 1000 over the unrounded
 * coefficients c of all frequencies but 0, in quantisation steps. ½·log2(1 + 4c²) is flat at c = 0, as is an encoder's
 * cost, and grows like the number of bits of 2c. The README has its errors against libjpeg; `jpegSize` is exact.
 * @param images `[B, H, W, 3]` in [0, 1]
 * @param options.quality libjpeg's quality, an integer from 1 to 100
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
 * Rewards images that compress well: minus `jpegKilobytes`, the estimated size. This is the differentiable form of
 * DDPO's compressibility, −bytes/1000 at quality 95 (Black et al. 2023, section 5.1). At most −0.629, which is a blank
 * image of one macroblock.
 * @throws if quality is not an integer from 1 to 100
 */
export function jpegCompressibility({ quality = 95 }: { quality?: number } = {}): ModelReward {
  quantizationTables(quality); // fails here rather than in the first step
  return defineReward({ params: {}, score: (_, images) => neg(jpegKilobytes(images as Tensor4D, { quality })) });
}

/**
 * Rewards detailed images, which compress badly: `jpegKilobytes`, the estimated size (DDPO's incompressibility).
 * @throws if quality is not an integer from 1 to 100
 */
export function jpegIncompressibility({ quality = 95 }: { quality?: number } = {}): ModelReward {
  quantizationTables(quality);
  return defineReward({ params: {}, score: (_, images) => jpegKilobytes(images as Tensor4D, { quality }) });
}
