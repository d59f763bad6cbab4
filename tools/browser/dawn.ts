// Computes on WebGPU in Node, by Dawn (the npm package webgpu): --compare is that of backends.ts. Needs a Vulkan
// driver; without a GPU, that of Chromium is one:
//   npm install --no-save webgpu@0.6.2 @tensorflow/tfjs-backend-webgpu@4.22.0
//   LD_LIBRARY_PATH=/usr/lib/chromium VK_ICD_FILENAMES=/usr/lib/chromium/vk_swiftshader_icd.json \
//     npm run dawn [-- --compare step|references|kernels]
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { ensureBackend, TfjsEngine, useBackend } from '@alignprop/autograd-ext';
import { directory } from '@alignprop/autograd-ext/weights';
import { setBackend } from '@tensorflow/tfjs-core';
import { compute, describeDifference } from './computation.js';
import { compareKernels, describeKernels } from './kernels.js';
import { describeCompared, isAbove, references } from './references.js';

const comparisons = { step: printStep, references: printReferences, kernels: printKernels };
const model = fileURLToPath(new URL('../../packages/cli/models/tiny-emoji', import.meta.url));
const fixtures = directory(fileURLToPath(new URL('../../fixtures', import.meta.url)));
const { compare } = parseArgs({ options: { compare: { type: 'string', default: 'step' } } }).values;
// Typed as string: the packages are installed by hand.
const [dawn, backend]: readonly string[] = ['webgpu', '@tensorflow/tfjs-backend-webgpu'];
const { create, globals } = (await import(dawn!)) as { create(options: readonly string[]): object; globals: object };
Object.assign(globalThis, globals);
Object.defineProperty(globalThis, 'navigator', { value: { gpu: create([]) }, configurable: true });
await import(backend!);
await (comparisons[compare as keyof typeof comparisons] ?? unknownComparison)();
process.exit(); // Dawn keeps the process running

async function printStep(): Promise<void> {
  await useBackend('wasm');
  const expected = await compute(model);
  await useWebGPU();
  await print('step', async () => describeDifference(await compute(model), expected));
}

/** The status is 1 where a reference is too far. */
async function printReferences(): Promise<void> {
  await useWebGPU();
  for (const [part, compareWith] of Object.entries(references))
    await print(part, async () => {
      const compared = await compareWith({ fixtures, engine: new TfjsEngine() });
      if (compared.some(isAbove)) process.exitCode = 1;
      return describeCompared(compared);
    });
}

/** The status is 1 where a kernel differs. */
async function printKernels(): Promise<void> {
  await print('kernels', async () => {
    const compared = await compareKernels({ engine: new TfjsEngine(), start: useWebGPU });
    if (compared.problems.length > 0) process.exitCode = 1;
    return describeKernels(compared);
  });
}

async function useWebGPU(): Promise<void> {
  if (!(await setBackend('webgpu'))) throw new Error('dawn: WebGPU does not start. It needs a driver of Vulkan.');
  await ensureBackend();
}

async function print(label: string, computeLine: () => Promise<string>): Promise<void> {
  const start = performance.now();
  const result = await computeLine();
  console.log(`webgpu (Dawn), ${label}, in ${((performance.now() - start) / 1000).toFixed(1)} s: ${result}`);
}

function unknownComparison(): never {
  throw new Error(`dawn: --compare got '${compare}', expected one of ${Object.keys(comparisons).join(', ')}.`);
}
