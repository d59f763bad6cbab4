// The program of both tasks of a job of slurm-check: ranks.ts <trains | throws | dies>. Trains the embedded model for
// two steps and prints a hash of the trained weights. In the second step the reward of rank 1 throws, or kills its
// process.
import { createHash } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { mean } from '@tensorflow/tfjs-core';
import { trainable, useBackend } from '@alignprop/autograd-ext';
import { StableDiffusionPipeline } from '@alignprop/diffusion';
import { AlignPropTrainer } from '@alignprop/trainer';
import { acrossProcesses } from '@alignprop/trainer/distributed';

const model = fileURLToPath(new URL('../../packages/cli/models/tiny-emoji', import.meta.url));
const [part] = process.argv.slice(2);

await acrossProcesses(async (collective) => {
  await useBackend('wasm');
  const pipeline = await StableDiffusionPipeline.fromPretrained(model);
  let calls = 0;
  const trainer = new AlignPropTrainer({
    pipeline,
    collective,
    promptFunction: (generator) => ['frog', 'lemon', 'rose'][generator.randint(0, 3, 1)[0]!]!,
    rewardFunction: (images) => {
      if (collective.rank === 1 && ++calls === 2 && part === 'throws') throw new Error('out of paper');
      if (calls === 2 && part === 'dies') process.kill(process.pid, 'SIGKILL');
      return mean(images, [1, 2, 3]);
    },
    config: {
      num_epochs: 2,
      train_batch_size: 1,
      sample_num_steps: 2,
      truncated_rand_backprop_minmax: [0, 2],
      height: 32,
      width: 32,
    },
  });
  for await (const { globalStep } of trainer.train()) console.error(`rank ${collective.rank}: step ${globalStep}`);
  const hash = createHash('sha256');
  for (const variable of Object.values(trainable(pipeline.unet.params))) hash.update(await variable.data());
  console.log(`${collective.rank} of ${collective.size}: ${hash.digest('hex')}`);
});
