// A reward that compares with a picture: trains towards its layout and colours, those of both reduced to 8×8 pixels.
// Arguments: a PNG file and a model; without them the embedded model draws the picture, out/target.png.
import { mkdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { resize } from '@alignprop/autograd-ext';
import { decodePng, StableDiffusionPipeline } from '@alignprop/diffusion';
import type { RewardFunction } from '@alignprop/rewards';
import { AlignPropTrainer } from '@alignprop/trainer';
import { div, mean, neg, square, sub, tensor4d, tidy, type Tensor1D, type Tensor4D } from '@tensorflow/tfjs-core';

const embedded = fileURLToPath(new URL('../packages/cli/models/tiny-emoji', import.meta.url));
const [picture, model = embedded] = process.argv.slice(2);
const pipeline = await StableDiffusionPipeline.fromPretrained(model);
const { data, height, width } = await target();

/** Images `[B, H, W, 3]` in small: each of the 8×8 pixels is a mean, so that moving edges has a gradient. */
const small = (images: Tensor4D) => resize(images, [8, 8], { mode: 'bilinear', antialias: true });
const wanted = tidy(() => small(div(tensor4d(data, [1, height, width, 3], 'int32'), 255)));

/** Minus the mean squared difference from the picture: 0 for the picture itself. */
const similarity: RewardFunction = (images) => neg(mean(square(sub(small(images), wanted)), [1, 2, 3])) as Tensor1D;

const trainer = new AlignPropTrainer({
  config: {
    num_epochs: 3,
    train_batch_size: 2,
    train_gradient_accumulation_steps: 1,
    train_learning_rate: 3e-3,
    sample_num_steps: 2,
    truncated_rand_backprop_minmax: [0, 2],
  },
  pipeline,
  promptFunction: () => 'crab',
  rewardFunction: similarity,
});
for await (const { globalStep, rewardMean } of trainer.train()) console.log(`step ${globalStep}: reward ${rewardMean}`);
trainer.dispose();

async function target() {
  if (picture !== undefined) return decodePng(await readFile(picture));
  const [apple] = await pipeline.generate({ prompt: 'red apple', numInferenceSteps: 2, seed: 1 });
  await mkdir('out', { recursive: true });
  await apple!.save('out/target.png');
  return apple!;
}
