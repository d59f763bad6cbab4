// A model from npm as a reward: draws faces that one of the models in @vladmandic/human (MIT) takes for happy, and
// prints both terms of each step. Any GraphModel or LayersModel of tfjs works so.
import { fileURLToPath } from 'node:url';
import { log, reshape, slice } from '@tensorflow/tfjs-core';
import { StableDiffusionPipeline } from '@alignprop/diffusion';
import { capped, fitInput, graphModel, jpegCompressibility, weightedSum } from '@alignprop/rewards';
import { AlignPropTrainer } from '@alignprop/trainer';

const file = (path: string) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const model = process.argv[2] ?? file('packages/cli/models/tiny-emoji'); // a folder or a hub id

// Grey pixels in [-1, 1] to the probabilities of seven emotions, of which the fourth is happy.
const happy = await graphModel({
  model: file('node_modules/@vladmandic/human/models/emotion.json'),
  transform: fitInput({ range: [-1, 1] }),
  score: (emotions) => reshape(log(slice(emotions!, [0, 3], [-1, 1])), [-1]),
  load: false, // the pipeline's engine reads the weights
});
const trainer = new AlignPropTrainer({
  config: {
    num_epochs: 2,
    train_batch_size: 1,
    train_gradient_accumulation_steps: 1,
    sample_num_steps: 2,
    truncated_rand_backprop_minmax: [0, 2],
  },
  pipeline: await StableDiffusionPipeline.fromPretrained(model),
  promptFunction: () => 'panda face',
  // The cap ends the gradient where P(happy) is above 0.9: beyond, only patterns that fool the model are left.
  rewardFunction: weightedSum({ happy: [capped(happy, Math.log(0.9)), 1], small: [jpegCompressibility(), 0.1] }),
});
for await (const { globalStep, rewardTerms } of trainer.train()) console.log(`step ${globalStep}:`, rewardTerms);
trainer.dispose();
