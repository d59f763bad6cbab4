// The program that open-mpi.test.ts starts with mpirun: mpi-program.ts <part> <folder>. Each rank writes the metrics
// and weights of its runs to <folder>/<part>-<rank>.json.
import { writeFile } from 'node:fs/promises';
import { useBackend } from '@alignprop/autograd-ext';
import { acrossProcesses } from '../collective/across-processes.js';
import { checkCollective } from './collective-contract.js';
import { drawnByIndex } from './drawn-by-index.js';
import { indexed, seeded } from './mpi-runs.js';
import { brightness, collect, tinyPipeline, tinyTrainer, trainedValues } from './tiny-run.js';

const [part, folder] = process.argv.slice(2) as ['train' | 'resume', string];

await acrossProcesses(async (collective) => {
  await useBackend('wasm');
  const { rank } = collective;
  const pipeline = await tinyPipeline();
  const run = async (options: Omit<Parameters<typeof tinyTrainer>[0], 'pipeline'>, from = pipeline) => {
    const trainer = tinyTrainer({ pipeline: from, ...options, collective });
    return { metrics: await collect(trainer), weights: trainedValues(trainer.pipeline) };
  };
  const results: unknown[] = [];
  if (part === 'train') {
    await checkCollective(collective);
    const { pipeline: fixed, promptFunction } = drawnByIndex(pipeline, 2, collective);
    results.push(await run({ config: { ...indexed, train_batch_size: 2 }, promptFunction }, fixed));
    results.push(await run({ config: { ...seeded, num_epochs: 1, output_dir: folder } }));
  } else {
    results.push(await run({ config: { ...seeded, num_epochs: 2, output_dir: folder, resume_from: folder } }));
  }
  await writeFile(`${folder}/${part}-${rank}.json`, JSON.stringify(results));
  if (part === 'train') return;

  let calls = 0; // of the reward on rank 1, which fails in the second step
  await run({
    config: { ...seeded, num_epochs: 1000 },
    rewardFunction: (images, ...rest) => {
      if (rank === 1 && ++calls === 2) throw new Error('out of paper');
      return brightness(images, ...rest);
    },
  });
});
