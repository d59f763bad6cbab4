import { expect, it } from 'vitest';
import { hasTensorflow } from '../../../../../../fixtures/engines.js';
import { runProgram } from '../../../../../../fixtures/run-program.js';

/** Multiplies matrices, and prints the number of threads of the process that computed. */
const program = (threads: number): string => `
  import { readdirSync, readFileSync } from 'node:fs';
  import { matMul, ones } from '@tensorflow/tfjs-core';
  import { createEngine } from '@alignprop/autograd-ext';
  await createEngine({ backend: 'tensorflow', threads: ${threads} });
  const ticks = () => readdirSync('/proc/self/task').map((task) =>
    Number(readFileSync('/proc/self/task/' + task + '/stat', 'utf8').split(') ')[1].split(' ')[11]));
  const x = ones([1024, 1024]);
  matMul(x, x).dataSync();
  const before = ticks();
  for (let i = 0; i < 20; i++) matMul(x, x).dataSync();
  console.log(ticks().filter((count, i) => i > 0 && count - (before[i] ?? 0) > 2).length);`;

it.skipIf(!hasTensorflow || process.platform !== 'linux')('computes on the given number of threads', async () => {
  const counts: number[] = [];
  for (const threads of [1, 3]) {
    const args = ['--input-type=module', '--eval', program(threads)];
    counts.push(Number((await runProgram(args)).stdout.trim()));
  }
  expect(counts[0]).toBeLessThan(2); // the process's own may compute instead
  expect(counts[1]).toBe(3);
});
