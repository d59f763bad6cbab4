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

/** Quality and rounding of the differentiable JPEG. */
export interface JpegOptions {
  /** libjpeg's quality, an integer from 1 to 100. */
  readonly quality?: number;
  /** How coefficients are rounded, and differentiated. */
  readonly rounding?: Rounding;
}

/**
 * The quantised DCT coefficients of a batch, in a baseline 4:2:0 JPEG: luma `[B·blocks, 64]`, and a quarter as many
 * rows for each chroma plane. In units of quantisation steps; pixels are not rounded to 8 bits before the transform.
 */
export type JpegCoefficients = {
  readonly luma: Tensor2D;
  readonly chroma: [Tensor2D, Tensor2D];
};

/**
 * Computes the quantised DCT coefficients of images, differentiably. As in encoders, the last row and column are
 * repeated up to multiples of 16.
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
 * Compresses and decompresses images, differentiably (Shin and Song 2017, "JPEG-resistant adversarial images").
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
 * A smooth measure of the information in each image: Σ log2(1 + |c|) over its quantised coefficients, in bits. An
 * encoder writes about twice as many bits; see `jpegKilobytes`.
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
 * The mean squared difference between each image and its JPEG round trip. DRaFT's compressibility reward is its
 * negative (Clark et al. 2024).
 * @param images `[B, H, W, 3]` in [0, 1]
 * @returns `[B]`
 */
export function jpegDistortion(images: Tensor4D, options: JpegOptions = {}): Tensor1D {
  return tidy(() => mean(square(sub(jpegRoundTrip(images, options), images)), [1, 2, 3]));
}

// log2(1 + |c|) with the gradient 0 at c = 0, where most coefficients are. tfjs's gradient of |c| is -1 there.
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

// JFIF 1.02 (ITU-T T.871): Y in 0 … 255, Cb and Cr with mean 0.
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
