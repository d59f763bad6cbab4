import {
  cast,
  div,
  greater,
  greaterEqual,
  logicalAnd,
  max,
  maximum,
  mul,
  slice,
  softmax,
  squeeze,
  sub,
  sum,
  type Tensor,
  type Tensor1D,
  type Tensor2D,
  type Tensor3D,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { checkOptions, type Params } from '@alignprop/autograd-ext';
import {
  hubAccessNames,
  loadParams,
  openWeights,
  readJson,
  resolveSource,
  type FileSource,
  type HubAccess,
} from '@alignprop/autograd-ext/weights';
import type { ConfigInput } from '@alignprop/diffusion/clip';
import { checkImages, defineReward, loadReward, type ModelReward } from '../reward.js';
import { classOf, yolosConfig, type YolosConfig } from './yolos-config.js';
import { yolosDetections, yolosLogits, yolosPixels, yolosSpec, type YolosParams } from './yolos.js';

/** The object, whether it is wanted, and the detector; the options of the hub are used for a hub id. */
export interface ObjectDetectionOptions extends HubAccess {
  /** The object: a label of the detector's config, such as `dog`. */
  readonly target: string;
  /** `absent` rewards images without the object, `present` images with it. */
  readonly goal?: 'absent' | 'present';
  /** A folder, hub id or source with `config.json` and `model.safetensors` of a `YolosForObjectDetection`. */
  readonly weights?: string | FileSource;
  /** For `absent`: boxes count if their score is above it. */
  readonly threshold?: number;
  /**
   * Height in pixels to which images are resized; the width keeps the aspect ratio. Smaller is faster, and misses more.
   */
  readonly height?: number;
  /** Whether to read the weights into memory, to call the reward directly. False for an engine, which reads them. */
  readonly load?: boolean;
}

/**
 * Whether a detector (YOLOS, arXiv 2106.00666) sees an object: to remove a concept, or to ask for one.
 *
 * `absent` is VADER's object removal (arXiv 2407.08737, `objectDetection_loss_fn`), image by image: 1 minus the mean
 * score of the boxes whose likeliest class is the target and whose score is above the threshold. In
 * `[0, 1 - threshold)` while there is such a box; 1, without a gradient, when there is none. (In VADER, an image
 * without a box drops the images before it in the batch; here each image counts.) `present` is the largest score of the
 * target among all boxes, in `(0, 1)`. It has no threshold, since an object that is not there yet needs a gradient.
 * Ignores prompts.
 *
 * Preprocessing: bilinear resize without antialiasing to `height` (512 as in VADER) and the width that keeps the aspect
 * ratio, at least one patch; ImageNet's mean and standard deviation.
 *
 * Weights: `hustvl/yolos-tiny` (26 MB; `-small` and `-base` detect more) from the Hugging Face hub, Apache-2.0, trained
 * on the 80 labels of COCO.
 *
 * Over-optimisation: `absent` blurs and dissolves the object and its surroundings, or paints it so that only the
 * detector no longer recognises it; `present` covers the image with textures and fragments that the detector takes for
 * the object. Combine it with a reward for quality, and check with another detector.
 * @throws if files are missing or do not match, if the detector does not know the target, or an option is out of range
 */
export async function objectDetection({
  target,
  goal = 'absent',
  weights = 'hustvl/yolos-tiny',
  threshold = 0.2,
  height = 512,
  load = true,
  ...access
}: ObjectDetectionOptions): Promise<ModelReward> {
  checkOptions('objectDetection', access, optionNames);
  const source = await resolveSource(weights, access);
  const config = yolosConfig((await readJson(source, 'config.json')) as ConfigInput);
  const index = classOf('objectDetection', config, target);
  checkValues(config, { goal, threshold, height });
  const all = loadParams(yolosSpec(config), await openWeights(source, 'model'), {
    owner: 'objectDetection',
    location: source.location,
  });
  const { bbox_predictor: _, ...params } = all as unknown as YolosParams; // the score ignores positions
  const scoreBoxes =
    goal === 'absent' ? (p: Tensor3D) => absence(p, index, threshold) : (p: Tensor3D) => presence(p, index);
  const reward = defineReward({
    params: params as unknown as Params,
    score: (weights, images) =>
      scoreBoxes(probabilities(config, weights as unknown as YolosParams, images as Tensor4D, height)),
  });
  return load ? loadReward(reward) : reward;
}

/** The probability of every class and, last, of no object, for each box: `[B, D, K + 1]`. */
function probabilities(config: YolosConfig, params: YolosParams, images: Tensor4D, height: number): Tensor3D {
  checkImages('objectDetection', images);
  return softmax(yolosLogits(params, yolosDetections(config, params, yolosPixels(config, images, height))));
}

/** 1 - the mean score of the boxes that show the class: `[B]`. */
function absence(p: Tensor3D, index: number, threshold: number): Tensor1D {
  const [batch, boxes, classes] = p.shape;
  const score = scoresOfClass(p, index);
  const isLikeliest = greaterEqual(score, max(slice(p, [0, 0, 0], [batch, boxes, classes - 1]), -1));
  const isFound = cast(logicalAnd(isLikeliest, greater(score, threshold)), 'float32'); // [B, D]
  const mean = div(sum(mul(isFound, score), 1), maximum(sum(isFound, 1), 1));
  return sub(1, mean);
}

/** The largest score of the class among all boxes: `[B]`. */
const presence = (p: Tensor3D, index: number): Tensor1D => max(scoresOfClass(p, index), 1);

/** The probability of one class in each box: `[B, D]`. */
function scoresOfClass(p: Tensor3D, index: number): Tensor2D {
  const [batch, boxes] = p.shape;
  return squeeze(slice(p, [0, 0, index], [batch, boxes, 1]) as Tensor, [2]);
}

const optionNames = ['target', 'goal', 'weights', 'threshold', 'height', 'load', ...hubAccessNames];

function checkValues(
  { patch_size }: YolosConfig,
  { goal, threshold, height }: { goal: string; threshold: number; height: number },
): void {
  const problems = [
    goal !== 'absent' && goal !== 'present' && `goal got '${goal}', expected 'absent' or 'present'`,
    !(threshold >= 0 && threshold < 1) && `threshold got ${threshold}, expected a number in [0, 1)`,
    !(Number.isInteger(height) && height >= patch_size) &&
      `height got ${height}, expected an integer of at least ${patch_size}, the detector's patch`,
  ].filter((problem) => problem !== false);
  if (problems.length) throw new Error(`objectDetection: ${problems.join('; ')}.`);
}
