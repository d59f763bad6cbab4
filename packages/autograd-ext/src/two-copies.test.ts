import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { bundleProgram } from '../../../fixtures/bundle-program.js';
import { runProgram } from '../../../fixtures/run-program.js';
import { temporaryFolder } from '../../../fixtures/temporary-folder.js';

const folder = temporaryFolder();
const source = fileURLToPath(new URL('index.ts', import.meta.url));

it('two copies in a process give the numbers of one, on both engines and in turns', async () => {
  const paths = await Promise.all(['a', 'b'].map((name) => bundleProgram(source, join(folder, name))));
  const program = join(folder, 'a/program.mjs');
  writeFileSync(program, useBoth(paths));
  const { code, stdout, stderr } = await runProgram(program, [], { isBundled: true });
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const { gradients, replacements } = JSON.parse(stdout) as { gradients: number[][]; replacements: number };
  for (const gradient of gradients) gradient.forEach((slope, i) => expect(slope / gradients[0]![i]!).toBeCloseTo(1, 5));
  expect(new Set(gradients[0]).size).toBeGreaterThan(1);
  expect(replacements).toBe(1);
});

/** A program that takes the same gradient with each copy and engine twice, and counts a gradient's replacements. */
const useBoth = ([a, b]: readonly string[]): string => `
  import { getGradient, maxPool, mul, relu, reshape, tensor2d } from '@tensorflow/tfjs-core';
  console.warn = () => {}; // tfjs warns of kernels that are registered twice
  const copies = [await import(${JSON.stringify(a)}), await import(${JSON.stringify(b)})];
  const gradients = [];
  const replacements = new Set();
  for (const turn of [0, 1]) {
    for (const { createEngine, TfjsEngine, silu, linear } of copies)
      for (const engine of [await createEngine(), new TfjsEngine()]) {
        const weights = { weight: tensor2d([1, -1, 2, 0.5], [2, 2]) };
        const score = (params, x) => {
          const y = silu(linear(x, params.weight));
          return mul(y, reshape(maxPool(reshape(relu(y), [1, 2, 2, 1]), 2, 1, 'same'), [2, 2]));
        };
        const { inputs } = await engine.compileVjp(score, { wrt: [0] })(weights, [tensor2d([1, 2, 3, 4], [2, 2])]);
        gradients.push([...inputs[0].dataSync()]);
        engine.dispose();
      }
    replacements.add(getGradient('MaxPool'));
  }
  console.log(JSON.stringify({ gradients, replacements: replacements.size }));`;
