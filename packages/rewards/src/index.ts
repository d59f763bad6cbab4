export { aesthetic, type AestheticOptions } from './clip/aesthetic.js';
export { clipPixels, clipPixelsOfBytes, type ClipPixelsOptions } from './clip/clip-pixels.js';
export { clipScore, type ClipScoreOptions } from './clip/clip-score.js';
export { hpsV2, type HpsV2Options } from './clip/hps-v2.js';
export type { ClipRewardOptions } from './clip/image-text-similarity.js';
export { pickScore } from './clip/pick-score.js';
export { capped } from './combinators/capped.js';
export { normalised } from './combinators/normalised.js';
export { negated, scaled } from './combinators/scaled.js';
export { weightedSum } from './combinators/weighted-sum.js';
export { fitInput, type InputFormat, type Transform } from './graph-model/fit-input.js';
export { graphModel, type GraphModelOptions } from './graph-model/graph-model.js';
export { nsfwSafety, type NsfwModel, type NsfwSafetyOptions } from './graph-model/nsfw-safety.js';
export { imageReward, type ImageRewardOptions } from './image-reward/image-reward.js';
export {
  jpegCoefficients,
  jpegDistortion,
  jpegRate,
  jpegRoundTrip,
  type JpegCoefficients,
  type JpegOptions,
} from './jpeg/differentiable-jpeg.js';
export { jpegCompressibility, jpegIncompressibility, jpegKilobytes } from './jpeg/jpeg-kilobytes.js';
export { jpegSize } from './jpeg/jpeg-size.js';
export type { Rounding } from './jpeg/rounding.js';
export { objectDetection, type ObjectDetectionOptions } from './object-detection/object-detection.js';
export {
  defineReward,
  isModelReward,
  loadReward,
  type BlackBoxReward,
  type DetailedReward,
  type ModelReward,
  type RewardContext,
  type RewardFunction,
  type RewardMemory,
  type RewardModel,
} from './reward.js';
export { scoredSum, type ScoredPart, type ScoredSum } from './reward-scorer.js';
export type { ReturnedScores, Scores } from './returned-scores.js';
export type { RgbImage } from './rgb-image.js';
export {
  scoreImages,
  type ImageScores,
  type Pixels,
  type ScorableImage,
  type ScoreImagesOptions,
} from './score-images.js';
