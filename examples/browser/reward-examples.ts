/** A reward to begin with. */
export interface RewardExample {
  readonly name: string;
  readonly text: string;
}

const arguments_ = `// images: [B, H, W, 3], values from 0 to 1
// Returns one score for each image: [B].`;

/** Rewards to choose, and to change. */
export const rewardExamples: readonly RewardExample[] = [
  {
    name: 'Red pictures',
    text: `${arguments_}
(images) => {
  const [red, green, blue] = tf.unstack(images, 3);
  const others = tf.maximum(green, blue);
  return tf.mean(tf.sub(red, others), [1, 2]);
}`,
  },
  {
    name: 'Dark pictures',
    text: `${arguments_}
(images) => tf.neg(tf.mean(images, [1, 2, 3]))`,
  },
  {
    name: 'Small JPEG files',
    text: `// Minus the size of the JPEG file in kilobytes, differentiable.
rewards.jpegCompressibility()`,
  },
];
