// Several rewards in one: small files up to a cap, a bright picture, and a term that is only watched. Prints each term
// of each step.
import { fileURLToPath } from 'node:url';
import { mean, moments, sqrt, type Tensor1D } from '@tensorflow/tfjs-core';
import { StableDiffusionPipeline } from '@alignprop/diffusion';
import { capped, jpegCompressibility, normalised, weightedSum, type RewardFunction } from '@alignprop/rewards';
import { AlignPropTrainer } from '@alignprop/trainer';

const brightness: RewardFunction = (images) => mean(images, [1, 2, 3]) as Tensor1D;
const contrast: RewardFunction = (images) => sqrt(moments(images, [1, 2, 3]).variance) as Tensor1D;

const reward = weightedSum({
  small: [capped(jpegCompressibility(), -2.8), 1], // no gradient for images below 2.8 kB
  bright: [normalised(brightness), 0.5], // in standard deviations of all scores so far, whatever its scale
  contrast: [normalised(contrast), 0], // trains nothing; contrast.raw is reported
});

const embedded = fileURLToPath(new URL('../packages/cli/models/tiny-emoji', import.meta.url));
const trainer = new AlignPropTrainer({
  config: {
    num_epochs: 2,
    train_batch_size: 2,
    train_gradient_accumulation_steps: 1,
    sample_num_steps: 2,
    truncated_rand_backprop_minmax: [0, 2],
  },
  pipeline: await StableDiffusionPipeline.fromPretrained(process.argv[2] ?? embedded), // a folder or a hub id
  promptFunction: () => 'crab',
  rewardFunction: reward,
});
for await (const { globalStep, rewardTerms } of trainer.train()) console.log(`step ${globalStep}:`, rewardTerms);
trainer.dispose();
