export { capped } from './combinators/capped.js';
export { normalised } from './combinators/normalised.js';
export { negated, scaled } from './combinators/scaled.js';
export { weightedSum } from './combinators/weighted-sum.js';
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
export {
  defineReward,
  detailed,
  isModelReward,
  loadReward,
  type DetailedReward,
  type ModelReward,
  type RewardFunction,
  type RewardMemory,
  type RewardModel,
} from './reward.js';
