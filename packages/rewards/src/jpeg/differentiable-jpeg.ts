import { defineOp, linear } from '@alignprop/autograd-ext';
import {
  abs,
  add,
  clipByValue,
  concat,
  div,
  log1p,
  mean,
  mul,
  reshape,
  sign,
  slice,
  square,
  stack,
  sub,
  sum,
  tensor1d,
  tensor2d,
  tidy,
  tile,
  unstack,
  type Tensor,
  type Tensor1D,
  type Tensor2D,
  type Tensor3D,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { checkImages } from '../reward.js';
import {
  chromaTransform,
  fromCoefficients,
  lumaTransform,
  toCoefficients,
  type BlockTransform,
} from './block-transform.js';
import { quantizationTables, type QuantizationTable } from './quantization-tables.js';
import { rounded, type Rounding } from './rounding.js';

export interface JpegOptions {
  /** As libjpeg counts it: an integer from 1 to 100. */
  readonly quality?: number;
  /** How quantised coefficients get a gradient. */
  readonly rounding?: Rounding;
}

/**
 * Quantised DCT coefficients of a batch as a baseline 4:2:0 JPEG holds them: luma `[B·blocks, 64]`, each chroma plane
 * a quarter as many rows. Units are quantisation steps; nothing is rounded to 8 bits before the transform.
 */
export type JpegCoefficients = {
  readonly luma: Tensor2D;
  readonly chroma: [Tensor2D, Tensor2D];
};

/**
 * The first half of an encoder, differentiable. Sizes that are not multiples of 16 are filled up by repeating the last
 * row and column, as encoders do.
 * @param images `[B, H, W, 3]` in [0, 1]
 */
export function jpegCoefficients(
  images: Tensor4D,
  { quality = 95, rounding = 'ste' }: JpegOptions = {},
): JpegCoefficients {
  checkImages('jpegCoefficients', images);
  const tables = quantizationTables(quality);
  const quantise = (plane: Tensor, transform: BlockTransform, table: QuantizationTable) =>
    rounded(div(toCoefficients(plane as Tensor3D, transform), tensor1d(table.slice())), rounding) as Tensor2D;
  return tidy(() => {
    const [y, cb, cr] = unstack(toYCbCr(mul(padEdges(images), 255)), 3) as [Tensor, Tensor, Tensor];
    const chroma: [Tensor2D, Tensor2D] = [
      quantise(cb, chromaTransform, tables.chroma),
      quantise(cr, chromaTransform, tables.chroma),
    ];
    return { luma: quantise(sub(y, 128), lumaTransform, tables.luma), chroma };
  });
}

/**
 * Images as they look after JPEG compression, differentiable (Shin and Song 2017, "JPEG-resistant adversarial images").
 * @param images `[B, H, W, 3]` in [0, 1]
 * @returns `[B, H, W, 3]` in [0, 1]
 */
export function jpegRoundTrip(images: Tensor4D, { quality = 95, rounding = 'ste' }: JpegOptions = {}): Tensor4D {
  return tidy(() => {
    const { luma, chroma } = jpegCoefficients(images, { quality, rounding });
    const tables = quantizationTables(quality);
    const [batch, height, width] = images.shape;
    const padded = [batch, multipleOf16(height), multipleOf16(width)];
    const decode = (c: Tensor, transform: BlockTransform, table: QuantizationTable) =>
      fromCoefficients(mul(c, tensor1d(table.slice())), padded, transform);
    const y = add(decode(luma, lumaTransform, tables.luma), 128);
    const [cb, cr] = chroma.map((plane) => decode(plane, chromaTransform, tables.chroma)) as [Tensor, Tensor];
    const rgb = div(toRgb(stack([y, cb, cr], 3)), 255);
    return clipByValue(slice(rgb as Tensor4D, [0, 0, 0, 0], images.shape), 0, 1);
  });
}

/**
 * A smooth measure of how much there is to encode: Σ log2(1 + |c|) over an image's quantised coefficients, in bits
 * (an encoder spends about twice as many, see `jpegKilobytes`).
 * @param images `[B, H, W, 3]` in [0, 1]
 * @returns `[B]`
 */
export function jpegRate(images: Tensor4D, options: JpegOptions = {}): Tensor1D {
  return tidy(() => {
    const { luma, chroma } = jpegCoefficients(images, options);
    const batch = images.shape[0];
    const rates = [luma, ...chroma].map((c) => sum(reshape(bits({ c }, {}), [batch, -1]), 1));
    return rates.reduce((total, rate) => add(total, rate)) as Tensor1D;
  });
}

/**
 * What compression does to an image: the mean squared difference to its JPEG round trip (the reward of DRaFT's
 * compressibility experiments is its negative, Clark et al. 2024).
 * @param images `[B, H, W, 3]` in [0, 1]
 * @returns `[B]`
 */
export function jpegDistortion(images: Tensor4D, options: JpegOptions = {}): Tensor1D {
  return tidy(() => mean(square(sub(jpegRoundTrip(images, options), images)), [1, 2, 3]));
}

// log2(1 + |c|). Most coefficients are 0: the gradient there is 0, where tfjs's own for |c| is -1.
const bits = defineOp<object>({
  name: 'JpegBits',
  forward: ({ c }) => mul(log1p(abs(c!)), Math.LOG2E),
  inputsToSave: ['c'],
  gradient: (dy, [c]) => ({ c: () => mul(dy, div(mul(sign(c!), Math.LOG2E), add(abs(c!), 1))) }),
});

const multipleOf16 = (size: number) => 16 * Math.ceil(size / 16);

/** Repeats the last row and column up to multiples of 16. */
function padEdges(images: Tensor4D): Tensor4D {
  const [batch, height, width, channels] = images.shape;
  const [below, right] = [multipleOf16(height) - height, multipleOf16(width) - width];
  const lastRow = () => tile(slice(images, [0, height - 1, 0, 0], [batch, 1, width, channels]), [1, below, 1, 1]);
  const tall = below ? concat([images, lastRow()], 1) : images;
  const lastColumn = () =>
    tile(slice(tall, [0, 0, width - 1, 0], [batch, height + below, 1, channels]), [1, 1, right, 1]);
  return right ? concat([tall, lastColumn()], 2) : tall;
}

// JFIF 1.02 (ITU-T T.871): Y in 0 … 255, Cb and Cr around 0.
const [red, green, blue] = [0.299, 0.587, 0.114] as const;
const toYCbCr = (rgb: Tensor) =>
  linear(
    rgb,
    tensor2d([
      [red, green, blue],
      [-red / 1.772, -green / 1.772, 0.5],
      [0.5, -green / 1.402, -blue / 1.402],
    ]),
  );
const toRgb = (ycbcr: Tensor) =>
  linear(
    ycbcr,
    tensor2d([
      [1, 0, 1.402],
      [1, -(1.772 * blue) / green, -(1.402 * red) / green],
      [1, 1.772, 0],
    ]),
  );
