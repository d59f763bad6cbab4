// Prompts with metadata: each has a negative prompt and a wanted brightness, which the reward reads.
import { fileURLToPath } from 'node:url';
import { mean, neg, square, sub, tensor1d, type Tensor1D } from '@tensorflow/tfjs-core';
import { StableDiffusionPipeline } from '@alignprop/diffusion';
import type { RewardFunction } from '@alignprop/rewards';
import { AlignPropTrainer } from '@alignprop/trainer';

interface Subject {
  readonly prompt: string;
  readonly negative: string;
  /** From 0, black, to 1, white. */
  readonly brightness: number;
}
const subjects: readonly Subject[] = [
  { prompt: 'crab', negative: 'red apple', brightness: 0.9 },
  { prompt: 'octopus', negative: '', brightness: 0.3 },
];

/** Minus the squared difference from the brightness that an image's subject wants. */
const brightness: RewardFunction<Subject> = (images, _prompts, metadata) => {
  const wanted = tensor1d(metadata.map((subject) => subject.brightness)); // [B]
  return neg(square(sub(mean(images, [1, 2, 3]) as Tensor1D, wanted)));
};

const embedded = fileURLToPath(new URL('../packages/cli/models/tiny-emoji', import.meta.url));
const trainer = new AlignPropTrainer<Subject>({
  config: {
    num_epochs: 2,
    train_batch_size: 2,
    train_gradient_accumulation_steps: 1,
    sample_num_steps: 2,
    truncated_rand_backprop_minmax: [0, 2],
  },
  pipeline: await StableDiffusionPipeline.fromPretrained(process.argv[2] ?? embedded), // a folder or a hub id
  // The generator is that of the run, so that a resumed run draws the same prompts.
  promptFunction: (generator) => {
    const subject = subjects[generator.randint(0, subjects.length, 1)[0]!]!;
    return [subject.prompt, subject, subject.negative];
  },
  rewardFunction: brightness,
});
for await (const { globalStep, rewardMean } of trainer.train()) console.log(`step ${globalStep}: reward ${rewardMean}`);
trainer.dispose();
