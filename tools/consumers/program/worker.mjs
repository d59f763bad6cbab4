// Runs server.mjs in a worker thread, with the model's folder as its argument.
import { Worker } from 'node:worker_threads';

const worker = new Worker(new URL('server.mjs', import.meta.url), { argv: process.argv.slice(2) });
worker.on('error', (error) => {
  console.error(error);
  process.exitCode = 1;
});
