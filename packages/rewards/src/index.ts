export { negated, scaled, weightedSum, type WeightedSum } from './combinators.js';
export {
  jpegCoefficients,
  jpegDistortion,
  jpegRate,
  jpegRoundTrip,
  type JpegCoefficients,
  type JpegOptions,
} from './jpeg/differentiable-jpeg.js';
export { jpegCompressibility, jpegIncompressibility, jpegKilobytes } from './jpeg/jpeg-kilobytes.js';
export { jpegSize, type RgbImage } from './jpeg/jpeg-size.js';
export type { Rounding } from './jpeg/rounding.js';
export { defineReward, loadReward, type ModelReward, type RewardFunction, type RewardModel } from './reward.js';
