import { VECTOR, endOf, high, low, multiplyAdd, sumOfPairs } from './vector';

// Sums are float64: the product of two float32 is exact there, so that the variance can be computed as E[x²] - E[x]²
// in one pass over x.

/**
 * For each channel of a and b [rows, channels], Σ a and Σ a · b over the rows.
 *
 * @param channels a multiple of 4
 * @param sums receives `channels` float64 for Σ a, then as many for Σ a · b
 */
export function columnSums(a: usize, b: usize, rows: i32, channels: i32, sums: usize): void {
  const rowBytes = (<usize>channels) << 2;
  let products = sums + 2 * rowBytes;
  for (const end = a + rowBytes; a < end; a += VECTOR, b += VECTOR) {
    let sumLow = f64x2.splat(0);
    let sumHigh = f64x2.splat(0);
    let productLow = f64x2.splat(0);
    let productHigh = f64x2.splat(0);
    for (let row = 0, aAt = a, bAt = b; row < rows; row++, aAt += rowBytes, bAt += rowBytes) {
      const x = v128.load(aAt);
      const y = v128.load(bAt);
      sumLow = f64x2.add(sumLow, low(x));
      sumHigh = f64x2.add(sumHigh, high(x));
      productLow = f64x2.add(productLow, f64x2.mul(low(x), low(y)));
      productHigh = f64x2.add(productHigh, f64x2.mul(high(x), high(y)));
    }
    v128.store(sums, sumLow);
    v128.store(sums, sumHigh, VECTOR);
    v128.store(products, productLow);
    v128.store(products, productHigh, VECTOR);
    sums += 2 * VECTOR;
    products += 2 * VECTOR;
  }
}

/**
 * y = (x - m) · p + e for x [rows, channels].
 *
 * @param channels a multiple of 4
 * @param coefficients `channels` float32 each of m, p and e, one after the other
 */
export function columnAffine(x: usize, y: usize, rows: i32, channels: i32, coefficients: usize): void {
  const rowBytes = (<usize>channels) << 2;
  const end = coefficients + rowBytes;
  for (let row = 0; row < rows; row++) {
    for (let m = coefficients; m < end; m += VECTOR) {
      v128.store(y, affine(x, m, rowBytes));
      x += VECTOR;
      y += VECTOR;
    }
  }
}

/** dx = (x - m) · p + e + dy · q, where the coefficients are m, p, e and q; otherwise as `columnAffine`. */
export function columnAffineGrad(x: usize, dy: usize, dx: usize, rows: i32, channels: i32, coefficients: usize): void {
  const rowBytes = (<usize>channels) << 2;
  const end = coefficients + rowBytes;
  for (let row = 0; row < rows; row++) {
    for (let m = coefficients; m < end; m += VECTOR) {
      const q = v128.load(m + 3 * rowBytes);
      v128.store(dx, f32x4.add(affine(x, m, rowBytes), f32x4.mul(v128.load(dy), q)));
      x += VECTOR;
      dy += VECTOR;
      dx += VECTOR;
    }
  }
}

/** (x - m) · p + e for the four values at `x`, whose coefficients are at `m`, `m + rowBytes` and `m + 2 · rowBytes`. */
function affine(x: usize, m: usize, rowBytes: usize): v128 {
  const centred = f32x4.sub(v128.load(x), v128.load(m));
  return multiplyAdd(centred, v128.load(m + rowBytes), v128.load(m + 2 * rowBytes));
}

/**
 * Layer normalisation of a row: y = (x - mean) / √(variance + eps) · weight + bias. `width` is a multiple of 4.
 *
 * The mean is rounded to float32 before it is subtracted; the rounding error goes into a constant that is added.
 */
export function layerNormRow(x: usize, weight: usize, bias: usize, y: usize, width: i32, eps: f64): void {
  const moments = rowMoments(x, width, eps);
  const mean = f64x2.extract_lane(moments, 0);
  const scale = f64x2.extract_lane(moments, 1);
  const meanV = f32x4.splat(<f32>mean);
  const scaleV = f32x4.splat(<f32>scale);
  const correction = f32x4.splat(<f32>(roundingError(mean) * scale));
  for (const end = endOf(x, width); x < end; x += VECTOR) {
    const normalised = multiplyAdd(f32x4.sub(v128.load(x), meanV), scaleV, correction);
    v128.store(y, multiplyAdd(normalised, v128.load(weight), v128.load(bias)));
    weight += VECTOR;
    bias += VECTOR;
    y += VECTOR;
  }
}

/**
 * The gradient of layer normalisation's input, for a row. With g = dy · weight and s = 1 / √(variance + eps):
 * dx = s · (g - E[g] - (x - mean) · s² · E[g · (x - mean)]). `width` is a multiple of 4.
 */
export function layerNormGradRow(x: usize, weight: usize, dy: usize, dx: usize, width: i32, eps: f64): void {
  const moments = rowMoments(x, width, eps);
  const mean = f64x2.extract_lane(moments, 0);
  const scale = f64x2.extract_lane(moments, 1);
  const end = endOf(x, width);

  let sumLow = f64x2.splat(0); // Σ g
  let sumHigh = f64x2.splat(0);
  let productLow = f64x2.splat(0); // Σ g · x
  let productHigh = f64x2.splat(0);
  for (let at = x, weightAt = weight, dyAt = dy; at < end; at += VECTOR, weightAt += VECTOR, dyAt += VECTOR) {
    const g = f32x4.mul(v128.load(dyAt), v128.load(weightAt));
    const v = v128.load(at);
    sumLow = f64x2.add(sumLow, low(g));
    sumHigh = f64x2.add(sumHigh, high(g));
    productLow = f64x2.add(productLow, f64x2.mul(low(g), low(v)));
    productHigh = f64x2.add(productHigh, f64x2.mul(high(g), high(v)));
  }
  const meanOfG = sumOfPairs(sumLow, sumHigh) / <f64>width;
  // E[g · (x - mean)] · s²
  const slope = (sumOfPairs(productLow, productHigh) / <f64>width - mean * meanOfG) * (scale * scale);

  const meanV = f32x4.splat(<f32>mean);
  const scaleV = f32x4.splat(<f32>scale);
  const slopeV = f32x4.splat(<f32>slope);
  const shiftV = f32x4.splat(<f32>(meanOfG + roundingError(mean) * slope));
  for (; x < end; x += VECTOR) {
    const g = f32x4.mul(v128.load(dy), v128.load(weight));
    const along = f32x4.mul(f32x4.sub(v128.load(x), meanV), slopeV);
    v128.store(dx, f32x4.mul(f32x4.sub(f32x4.sub(g, shiftV), along), scaleV));
    weight += VECTOR;
    dy += VECTOR;
    dx += VECTOR;
  }
}

/** The mean of a row and 1 / √(variance + eps), as the two float64 of a vector. */
function rowMoments(x: usize, width: i32, eps: f64): v128 {
  let sumLow = f64x2.splat(0);
  let sumHigh = f64x2.splat(0);
  let squareLow = f64x2.splat(0);
  let squareHigh = f64x2.splat(0);
  for (const end = endOf(x, width); x < end; x += VECTOR) {
    const v = v128.load(x);
    sumLow = f64x2.add(sumLow, low(v));
    sumHigh = f64x2.add(sumHigh, high(v));
    squareLow = f64x2.add(squareLow, f64x2.mul(low(v), low(v)));
    squareHigh = f64x2.add(squareHigh, f64x2.mul(high(v), high(v)));
  }
  const mean = sumOfPairs(sumLow, sumHigh) / <f64>width;
  const variance = sumOfPairs(squareLow, squareHigh) / <f64>width - mean * mean;
  return f64x2.replace_lane(f64x2.splat(mean), 1, 1 / Math.sqrt(variance + eps));
}

/** The error of rounding x to float32: float32(x) - x. */
function roundingError(x: f64): f64 {
  return <f64>(<f32>x) - x;
}
