// Computes an image and a training step on WebGPU in Node, by Dawn (the npm package webgpu), and compares them with
// wasm. Needs a Vulkan driver; without a GPU, that of Chromium is one:
//   npm install --no-save webgpu@0.6.2 @tensorflow/tfjs-backend-webgpu@4.22.0
//   LD_LIBRARY_PATH=/usr/lib/chromium VK_ICD_FILENAMES=/usr/lib/chromium/vk_swiftshader_icd.json npm run dawn
import { fileURLToPath } from 'node:url';
import { useBackend } from '@alignprop/autograd-ext';
import { setBackend } from '@tensorflow/tfjs-core';
import { compute, describeDifference } from './computation.js';

const model = fileURLToPath(new URL('../../packages/cli/models/tiny-emoji', import.meta.url));
// Typed as string: the packages are installed by hand.
const [dawn, backend]: readonly string[] = ['webgpu', '@tensorflow/tfjs-backend-webgpu'];
const { create, globals } = (await import(dawn!)) as { create(options: readonly string[]): object; globals: object };
Object.assign(globalThis, globals);
Object.defineProperty(globalThis, 'navigator', { value: { gpu: create([]) }, configurable: true });
await import(backend!);

await useBackend('wasm');
const expected = await compute(model);
if (!(await setBackend('webgpu'))) throw new Error('dawn: WebGPU does not start. It needs a driver of Vulkan.');
const start = performance.now();
const actual = await compute(model);
console.log(
  `webgpu (Dawn): ${describeDifference(actual, expected)} in ${((performance.now() - start) / 1000).toFixed(1)} s`,
);
process.exit(0); // Dawn keeps the process running
