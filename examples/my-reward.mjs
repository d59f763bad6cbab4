// A reward in JavaScript, for the command: likes pictures whose middle is brighter than their edges.
//   alignprop reward check examples/my-reward.mjs
//   alignprop train --reward examples/my-reward.mjs
import { div, mean, mul, sub, tensor } from '@tensorflow/tfjs-core';

/**
 * Scores each image from -1 to 1. Made of operations of tfjs-core only, so that it has a gradient.
 * @param images [B, H, W, 3], RGB from 0 to 1
 * @returns scores [B]
 */
export default function spotlight(images) {
  const [, height, width] = images.shape;
  const middle = Array.from({ length: height }, (_, y) =>
    Array.from({ length: width }, (_, x) => [Math.hypot((2 * y) / height - 1, (2 * x) / width - 1) < 0.8 ? 1 : 0]),
  );
  const mask = tensor([middle]); // [1, H, W, 1]
  const share = mean(mask);
  const inside = div(mean(mul(images, mask), [1, 2, 3]), share); // [B]
  const outside = div(mean(mul(images, sub(1, mask)), [1, 2, 3]), sub(1, share));
  return sub(inside, outside);
}
