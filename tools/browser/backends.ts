// Computes an image and a training step in Chromium on tfjs's wasm, webgl and webgpu backends, and with ONNX Runtime on
// WebGPU, and compares them with Node's wasm. Without a GPU, Chromium computes on SwiftShader, a software adapter.
//   npm install --no-save @tensorflow/tfjs-backend-webgpu@4.22.0
//   npm run browser-backends [-- --only webgl|webgpu|wasm|onnxruntime-webgpu]
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { build } from 'esbuild';
import { useBackend } from '@alignprop/autograd-ext';
import { findChromium } from './chromium.js';
import { compute, describeDifference, type Computed } from './computation.js';
import { servePage } from './page-server.js';

const model = fileURLToPath(new URL('../../packages/cli/models/tiny-emoji', import.meta.url));
const { only } = parseArgs({ options: { only: { type: 'string' } } }).values;
/** Lets Chromium compute WebGL and WebGPU on SwiftShader where there is no GPU. */
const softwareAdapters = ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader', '--enable-unsafe-swiftshader'];
const tfjsBackends = ['wasm', 'webgl', 'webgpu'];
const names = [...tfjsBackends, 'onnxruntime-webgpu'].filter((name) => !only || name === only);
/** The backends register themselves before the page computes. */
const program = names
  .filter((name) => tfjsBackends.includes(name))
  .map((name) => `import '@tensorflow/tfjs-backend-${name}';\n`)
  .concat("import './backend-page.ts';")
  .join('');
const chromium = findChromium();
if (!chromium) throw new Error('browser-backends: Chromium is not installed. Install it, or set CHROMIUM to its path.');

await useBackend('wasm');
const expected = await compute(model);
const { outputFiles } = await build({
  stdin: { contents: program, resolveDir: fileURLToPath(new URL('.', import.meta.url)) },
  bundle: true,
  write: false,
  format: 'esm',
  platform: 'browser',
  conditions: ['@alignprop/source'],
  external: [
    'onnxruntime-node',
    '@huggingface/hub',
    'nsfwjs/*',
    'undici',
    'node:*',
    'fs',
    'path',
    'os',
    'util',
    'crypto',
  ],
  logLevel: 'silent',
});
for (const backend of names) {
  const page = { chromium, program: outputFiles[0]!.text, model, query: `backend=${backend}`, flags: softwareAdapters };
  const report = await servePage(page).catch((error: unknown) => error as Error);
  if (report instanceof Error) {
    console.log(`${backend}: ${report.message}`);
    continue;
  }
  const { computed, milliseconds } = JSON.parse(report.toString()) as { computed: Computed; milliseconds: number };
  console.log(`${backend}: ${describeDifference(computed, expected)} in ${(milliseconds / 1000).toFixed(1)} s`);
}
