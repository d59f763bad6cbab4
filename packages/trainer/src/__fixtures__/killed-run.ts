// A program that trains: killed-run.ts <folder> <n>. It kills itself in its n-th operation on the folder's files; with
// n = 0 it trains to the end.
import { collect, tinyPipeline } from './tiny-run.js';
import { useBackend } from '@alignprop/autograd-ext';
import { eventfulTrainer } from './eventful-run.js';
import { interceptDisk } from './failing-disk.js';

const [folder, n] = [process.argv[2]!, Number(process.argv[3])];
let count = 0;
interceptDisk(folder, async (_operation, _path, tear) => {
  if (++count !== n) return;
  await tear();
  process.kill(process.pid, 'SIGKILL');
});
await useBackend('wasm');
const pipeline = await tinyPipeline();
process.stdout.write('ready\n');
const trainer = eventfulTrainer(
  pipeline,
  { output_dir: folder, resume_from: folder },
  { info: () => {}, warn: () => {} },
);
await collect(trainer).catch((error: unknown) => {
  process.stderr.write((error as Error).message);
  process.exitCode = 1;
});
