import {
  abs,
  add,
  addN,
  div,
  maximum,
  mean,
  mul,
  sub,
  tidy,
  type Tensor1D,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import type { DrawnPlan, Leap } from '../estimators/plans.js';
import type { StraightPath } from '../estimators/straight-path.js';
import type { Trajectory } from './walk-up.js';

/**
 * The factor of each image's part of the loss: 1 / Σ max(floor, d) over the leaps of a plan (`DrawnPlan.distances`).
 * @returns `[B]`; it belongs to the caller
 */
export const leapWeights = (
  { leaps, floor }: NonNullable<DrawnPlan['distances']>,
  trajectory: Trajectory,
  path: StraightPath,
): Tensor1D =>
  tidy(() => {
    const distances = leaps.map((leap) => maximum(distance(leap, trajectory, path), floor));
    return div<Tensor1D>(1, addN(distances));
  });

/** The mean absolute difference between the latents that a leap predicts and those of the chain, `[B]`. */
function distance({ start, end, weights }: Leap, { latents, modelOutputs }: Trajectory, { scales }: StraightPath) {
  const predicted = weights.reduce<Tensor4D>(
    (y, [step, weight]) => add(y, mul(modelOutputs[step]!, weight)),
    div(latents[start]!, scales[start]!),
  );
  return mean(abs(sub(latents[end]!, mul(predicted, scales[end]!))), [1, 2, 3]);
}
