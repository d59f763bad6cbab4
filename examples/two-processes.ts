// Trains in several processes, each with images of its own; the gradients are averaged. In one process it runs too.
//   mpirun -np 2 --bind-to none node … examples/two-processes.ts
import { fileURLToPath } from 'node:url';
import { StableDiffusionPipeline } from '@alignprop/diffusion';
import { jpegCompressibility } from '@alignprop/rewards';
import { AlignPropTrainer } from '@alignprop/trainer';
import { acrossProcesses } from '@alignprop/trainer/distributed';

const embedded = fileURLToPath(new URL('../packages/cli/models/tiny-emoji', import.meta.url));

await acrossProcesses(async (collective) => {
  const trainer = new AlignPropTrainer({
    collective,
    config: {
      num_epochs: 2,
      train_batch_size: 1, // of each process
      train_gradient_accumulation_steps: 1,
      sample_num_steps: 2,
      truncated_rand_backprop_minmax: [0, 2],
      output_dir: 'out/two-processes', // rank 0 writes
      overwrite_output_dir: true,
    },
    pipeline: await StableDiffusionPipeline.fromPretrained(process.argv[2] ?? embedded),
    promptFunction: () => 'crab',
    rewardFunction: jpegCompressibility(),
  });
  for await (const { globalStep, rewardMean } of trainer.train())
    console.log(`rank ${collective.rank} of ${collective.size}, step ${globalStep}: mean reward of all ${rewardMean}`);
  trainer.dispose();
});
