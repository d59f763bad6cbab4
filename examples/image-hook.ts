// Keeps the training images of every step: out/hook/step-N.png is a sheet of them, whose text has prompts and rewards.
import { mkdir, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { encodePng, imageGrid, StableDiffusionPipeline, toUint8 } from '@alignprop/diffusion';
import { jpegCompressibility } from '@alignprop/rewards';
import { AlignPropTrainer, type ImageSamples } from '@alignprop/trainer';

await mkdir('out/hook', { recursive: true });

/** The tensors belong to the trainer; they are valid until the promise is resolved. */
async function keep({ images, prompts, rewards }: ImageSamples<undefined>, step: number): Promise<void> {
  const [, height, width] = images.shape;
  const scores = await rewards.data();
  const sheet = imageGrid(await toUint8(images), { height, width, gutter: 2 });
  const text = prompts.map((prompt, i) => `${prompt}: ${scores[i]!.toFixed(3)}`).join('\n');
  await writeFile(`out/hook/step-${step}.png`, encodePng(sheet.data, { ...sheet, parameters: text }));
  console.log(`step ${step}: ${text.replace('\n', ', ')}`);
}

const embedded = fileURLToPath(new URL('../packages/cli/models/tiny-emoji', import.meta.url));
const trainer = new AlignPropTrainer<undefined>({
  config: {
    num_epochs: 2,
    train_batch_size: 2,
    train_gradient_accumulation_steps: 1,
    sample_num_steps: 2,
    truncated_rand_backprop_minmax: [0, 2],
    log_image_freq: 1,
  },
  pipeline: await StableDiffusionPipeline.fromPretrained(process.argv[2] ?? embedded), // a folder or a hub id
  promptFunction: () => 'crab',
  rewardFunction: jpegCompressibility(),
  imageSamplesHook: keep,
});
for await (const { globalStep, rewardMean } of trainer.train()) console.log(`step ${globalStep}: reward ${rewardMean}`);
trainer.dispose();
