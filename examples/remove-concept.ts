// Concept removal: trains until a detector (YOLOS) no longer sees an object in pictures of the prompt, and writes the
// adapter to out/no-person. Arguments: the object, a label of COCO; the detector; the model.
import { fileURLToPath } from 'node:url';
import { StableDiffusionPipeline } from '@alignprop/diffusion';
import { jpegIncompressibility, objectDetection, weightedSum } from '@alignprop/rewards';
import { AlignPropTrainer } from '@alignprop/trainer';

const embedded = fileURLToPath(new URL('../packages/cli/models/tiny-emoji', import.meta.url));
const [target = 'person', weights = 'hustvl/yolos-tiny', model = embedded] = process.argv.slice(2);

const absent = await objectDetection({ target, weights, threshold: 0.02, height: 64, load: false });
const trainer = new AlignPropTrainer({
  config: {
    num_epochs: 2,
    train_batch_size: 1,
    train_gradient_accumulation_steps: 1,
    sample_num_steps: 2,
    truncated_rand_backprop_minmax: [0, 2],
    output_dir: `out/no-${target}`,
    overwrite_output_dir: true,
  },
  pipeline: await StableDiffusionPipeline.fromPretrained(model),
  promptFunction: () => target,
  // Detail counts a little, so that blurring the picture is no way out.
  rewardFunction: weightedSum({ absent: [absent, 1], detail: [jpegIncompressibility(), 0.01] }),
});
for await (const { globalStep, rewardTerms } of trainer.train()) console.log(`step ${globalStep}:`, rewardTerms);
trainer.dispose();
