import { avgPool, slice, tensor1d, tensor2d, type Tensor4D } from '@tensorflow/tfjs-core';
import { LinearDecoder } from '../models/linear-decoder.js';
import type { StableDiffusionPipeline } from './stable-diffusion.js';

/** A decoder, and how well it fits. */
export interface LinearFit {
  /** The tensors of its weights belong to the caller. */
  readonly decoder: LinearDecoder;
  /** The share of the variance of the pixels that it explains, at most 1. */
  readonly explained: number;
}

/**
 * Fits a `LinearDecoder` to a model's own decoder by least squares: each pixel of an image, averaged over the pixels of
 * a latent, from this latent.
 * @param latents `[B, h, w, C]` of pictures that the model draws; they stay the caller's
 */
export async function fitLinearDecoder(pipeline: StableDiffusionPipeline, latents: Tensor4D): Promise<LinearFit> {
  const [batch, height, width, channels] = latents.shape;
  const sums = new Products(channels + 1, 3);
  for (let i = 0; i < batch; i++) {
    const one = slice(latents, [i, 0, 0, 0], [1, height, width, channels]);
    const images = await pipeline.decode(one);
    const factor = pipeline.vaeScaleFactor;
    const pixels: Tensor4D = avgPool(images, factor, factor, 'valid'); // [1, h, w, 3]
    sums.add(await one.data<'float32'>(), await pixels.data<'float32'>());
    for (const tensor of [one, images, pixels]) tensor.dispose();
  }
  const { solution, explained } = sums.solve();
  const weight = [0, 1, 2].map((colour) => solution.slice(0, channels).map((row) => row[colour]!));
  const params = { weight: tensor2d(weight), bias: tensor1d([...solution[channels]!]) };
  return { decoder: new LinearDecoder({ latent_channels: channels }, params), explained };
}

/** The sums of least squares, in float64: XᵀX, XᵀY and the squares of Y. The last column of X is 1. */
class Products {
  readonly #inputs: number[][];
  readonly #outputs: number[][];
  readonly #squares: number[];
  #count = 0;

  constructor(
    readonly width: number,
    readonly targets: number,
  ) {
    this.#inputs = Array.from({ length: width }, () => new Array<number>(width).fill(0));
    this.#outputs = Array.from({ length: width }, () => new Array<number>(targets).fill(0));
    this.#squares = new Array<number>(targets).fill(0);
  }

  /** Adds rows of inputs, without their 1, and of targets. */
  add(inputs: Float32Array, targets: Float32Array): void {
    const free = this.width - 1;
    for (let row = 0; row * free < inputs.length; row++) {
      const x = [...inputs.subarray(row * free, (row + 1) * free), 1];
      const y = targets.subarray(row * this.targets, (row + 1) * this.targets);
      x.forEach((value, i) => {
        x.forEach((other, j) => (this.#inputs[i]![j]! += value * other));
        y.forEach((other, j) => (this.#outputs[i]![j]! += value * other));
      });
      y.forEach((value, j) => (this.#squares[j]! += value * value));
      this.#count++;
    }
  }

  /** Solves XᵀX · W = XᵀY. @returns W, a row for each input, and the share of Y's variance it explains */
  solve(): { readonly solution: readonly (readonly number[])[]; readonly explained: number } {
    const solution = eliminate(this.#inputs, this.#outputs);
    let [left, total] = [0, 0];
    this.#squares.forEach((square, j) => {
      const fitted = solution.reduce((sum, row, i) => sum + row[j]! * this.#outputs[i]![j]!, 0);
      left += square - fitted;
      total += square - this.#outputs[this.width - 1]![j]! ** 2 / this.#count;
    });
    return { solution, explained: total === 0 ? 1 : 1 - left / total };
  }
}

/** Solves A · W = B by Gauss-Jordan elimination with pivots; a column that depends on others gets 0. */
function eliminate(a: readonly (readonly number[])[], b: readonly (readonly number[])[]): number[][] {
  const size = a.length;
  const rows = a.map((row, i) => [...row, ...b[i]!]);
  const least = 1e-12 * Math.max(...a.map((row, i) => row[i]!));
  for (let column = 0; column < size; column++) {
    const below = rows.slice(column).map((row) => Math.abs(row[column]!));
    const pivot = column + below.indexOf(Math.max(...below));
    [rows[column], rows[pivot]] = [rows[pivot]!, rows[column]!];
    const first = rows[column]!;
    const scale = Math.abs(first[column]!) > least ? 1 / first[column]! : 0;
    rows[column] = first.map((value) => value * scale);
    rows.forEach((row, i) => {
      if (i !== column) rows[i] = row.map((value, j) => value - row[column]! * rows[column]![j]!);
    });
  }
  return rows.map((row) => row.slice(size));
}
