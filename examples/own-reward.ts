// Trains an adapter on a reward of your own, how close an image's mean colour is to a target, and draws with it. Writes
// the adapter and the metrics to out/own-reward, the picture to out/apple.png.
import { fileURLToPath } from 'node:url';
import { mean, neg, square, sub, tensor } from '@tensorflow/tfjs-core';
import { StableDiffusionPipeline } from '@alignprop/diffusion';
import type { RewardFunction } from '@alignprop/rewards';
import { AlignPropTrainer } from '@alignprop/trainer';

interface Colour {
  readonly rgb: readonly [number, number, number];
}

/** Minus the squared distance of each image's mean colour from the one asked for: `[B, H, W, 3]` to `[B]`. */
const colour: RewardFunction<Colour> = (images, _prompts, metadata) => {
  const target = tensor(metadata.map(({ rgb }) => [...rgb])); // [B, 3]
  return neg(mean(square(sub(mean(images, [1, 2]), target)), 1));
};

const embedded = fileURLToPath(new URL('../packages/cli/models/tiny-emoji', import.meta.url));
const model = process.argv[2] ?? embedded; // a folder or a hub id
const pipeline = await StableDiffusionPipeline.fromPretrained(model);
const trainer = new AlignPropTrainer<Colour>({
  config: {
    num_epochs: 2,
    train_batch_size: 1,
    train_gradient_accumulation_steps: 1,
    sample_num_steps: 4,
    truncated_rand_backprop_minmax: [0, 4],
    output_dir: 'out/own-reward',
    overwrite_output_dir: true,
  },
  pipeline,
  promptFunction: () => ['red apple', { rgb: [0.9, 0.2, 0.2] }],
  rewardFunction: colour,
});
for await (const { globalStep, rewardMean } of trainer.train()) console.log(`step ${globalStep}: reward ${rewardMean}`);

const [image] = await trainer.pipeline.generate({ prompt: 'red apple', numInferenceSteps: 4, seed: 7 });
await image.save('out/apple.png');
trainer.dispose();
