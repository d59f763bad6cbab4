// An estimator of your own: which denoising steps the gradient of the reward enters, and with which factors. This one
// trains the last step, and one earlier step at random with half the weight, without the path through its input.
import { fileURLToPath } from 'node:url';
import { StableDiffusionPipeline } from '@alignprop/diffusion';
import { jpegCompressibility } from '@alignprop/rewards';
import { AlignPropTrainer, attachProbabilities, plannedChain, type Plan } from '@alignprop/trainer';

const steps = 4;
const lastAndOne: Plan = {
  name: 'last-and-one',
  draw({ steps: count }, generator) {
    const early = generator.randint(0, count - 1, 1)[0];
    const weight = (i: number) => (i === count - 1 ? 1 : i === early ? 0.5 : 0);
    const factors = (i: number) => ({ weight: weight(i), coupling: i === count - 1 ? 1 : 0 });
    return { steps: Array.from({ length: count }, (_, i) => factors(i)), shown: 'x_0', renoised: 0 };
  },
};

const embedded = fileURLToPath(new URL('../packages/cli/models/tiny-emoji', import.meta.url));
const pipeline = await StableDiffusionPipeline.fromPretrained(process.argv[2] ?? embedded); // a folder or a hub id
const chain = plannedChain(pipeline.scheduler, { numInferenceSteps: steps, eta: 0 });
console.log('chance of each step to train:', attachProbabilities(lastAndOne, chain));

const trainer = new AlignPropTrainer({
  config: {
    num_epochs: 2,
    train_batch_size: 1,
    train_gradient_accumulation_steps: 1,
    sample_num_steps: steps,
  },
  pipeline,
  plan: lastAndOne,
  promptFunction: () => 'crab',
  rewardFunction: jpegCompressibility(),
});
for await (const { globalStep, gradNorm } of trainer.train()) console.log(`step ${globalStep}: gradient ${gradNorm}`);
trainer.dispose();
