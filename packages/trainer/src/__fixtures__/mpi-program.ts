// What open-mpi.test.ts starts with mpirun. It writes what a rank saw to <folder>/<part>-<rank>.json.
import { writeFile } from 'node:fs/promises';
import { trainable, useBackend } from '@alignprop/autograd-ext';
import { acrossProcesses } from '../collective/across-processes.js';
import { checkCollective } from './collective-contract.js';
import { drawnByIndex } from './drawn-by-index.js';
import { indexed, seeded } from './mpi-runs.js';
import { brightness, collect, tinyPipeline, tinyTrainer } from './tiny-run.js';

const [part, folder] = process.argv.slice(2) as ['train' | 'resume', string];

await acrossProcesses(async (collective) => {
  await useBackend('wasm');
  const { rank } = collective;
  const pipeline = await tinyPipeline();
  const run = async (options: Omit<Parameters<typeof tinyTrainer>[0], 'pipeline'>, from = pipeline) => {
    const trainer = tinyTrainer({ pipeline: from, ...options, collective });
    const metrics = await collect(trainer);
    return {
      metrics,
      weights: Object.values(trainable(trainer.pipeline.unet.params)).flatMap((x) => [...x.dataSync()]),
    };
  };
  const seen: unknown[] = [];
  if (part === 'train') {
    await checkCollective(collective);
    const { pipeline: fixed, promptFunction } = drawnByIndex(pipeline, 2, collective);
    seen.push(await run({ config: { ...indexed, train_batch_size: 2 }, promptFunction }, fixed));
    seen.push(await run({ config: { ...seeded, num_epochs: 1, output_dir: folder } }));
  } else {
    seen.push(await run({ config: { ...seeded, num_epochs: 2, output_dir: folder, resume_from: folder } }));
  }
  await writeFile(`${folder}/${part}-${rank}.json`, JSON.stringify(seen));
  if (part === 'train') return;

  let calls = 0; // and now one of them fails
  await run({
    config: { ...seeded, num_epochs: 1000 },
    rewardFunction: (images, ...rest) => {
      if (rank === 1 && ++calls === 2) throw new Error('out of paper');
      return brightness(images, ...rest);
    },
  });
});
