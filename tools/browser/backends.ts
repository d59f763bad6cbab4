// Computes in Chromium on tfjs's wasm, webgl and webgpu backends and with ONNX Runtime on WebGPU. Without a GPU,
// Chromium computes on SwiftShader, a software adapter. --compare chooses what:
//   step        an image and a training step, compared with Node's wasm; the default
//   references  the models and an AlignProp step, compared with reference numbers of diffusers and TRL
//   kernels     every kernel of tfjs and its gradient, compared with tfjs's cpu
//
//   npm run browser-backends [-- --only webgl|webgpu|wasm|onnxruntime-webgpu] [--compare step|references|kernels]
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { useBackend } from '@alignprop/autograd-ext';
import { bundleBackends, computeInChromium, tfjsBackends } from './backend-in-chromium.js';
import { findChromium } from './chromium.js';
import { compute, describeDifference, type Computed } from './computation.js';
import { describeKernels, type ComparedKernels } from './kernels.js';
import { describeCompared, isAbove, references, type Compared } from './references.js';

const comparisons = { step: compareStep, references: compareReferences, kernels: compareKernels };
const model = fileURLToPath(new URL('../../packages/cli/models/tiny-emoji', import.meta.url));
const fixtures = fileURLToPath(new URL('../../fixtures', import.meta.url));
const { only, compare } = parseArgs({
  options: { only: { type: 'string' }, compare: { type: 'string', default: 'step' } },
}).values;
const all = [...tfjsBackends, 'onnxruntime-webgpu'];
const names = all.filter((name) => !only || name === only);
if (names.length === 0) refuse('--only', only, all);
const chromium = findChromium() ?? chromiumMissing();
const program = await bundleBackends(names);
await (comparisons[compare as keyof typeof comparisons] ?? unknownComparison)();

/** Prints how far an image and a step are from those of wasm in Node. */
async function compareStep(): Promise<void> {
  await useBackend('wasm');
  const expected = await compute(model);
  for (const backend of names)
    await print<Computed>(backend, model, 'step', (computed) => describeDifference(computed, expected));
}

/** Prints how far each part of the reference numbers is from them. The status is 1 where one is too far. */
async function compareReferences(): Promise<void> {
  for (const backend of names)
    for (const part of Object.keys(references)) {
      const compared = await print<Compared[]>(backend, fixtures, part, describeCompared);
      if (compared?.some(isAbove)) process.exitCode = 1;
    }
}

/** Prints the kernels that differ. The status is 1 where one does. */
async function compareKernels(): Promise<void> {
  for (const backend of names) {
    const compared = await print<ComparedKernels>(backend, fixtures, 'kernels', describeKernels);
    if (compared?.problems.length) process.exitCode = 1;
  }
}

/** Opens the page on a folder, and prints and returns what it computes; prints its error if it has one. */
async function print<T>(
  backend: string,
  folder: string,
  what: string,
  describe: (computed: T) => string,
): Promise<T | undefined> {
  try {
    const { computed, milliseconds } = await computeInChromium<T>({
      ...{ chromium, program, backend, folder },
      compare: what,
    });
    console.log(`${backend}, ${what}, in ${(milliseconds / 1000).toFixed(1)} s: ${describe(computed)}`);
    return computed;
  } catch (error) {
    console.log(`${backend}, ${what}: ${(error as Error).message}`);
    process.exitCode = 1;
    return undefined;
  }
}

function chromiumMissing(): never {
  throw new Error('browser-backends: Chromium is not installed. Install it, or set CHROMIUM to its path.');
}

function unknownComparison(): never {
  return refuse('--compare', compare, Object.keys(comparisons));
}

function refuse(flag: string, got: string | undefined, known: readonly string[]): never {
  throw new Error(`browser-backends: ${flag} got '${got}', expected one of ${known.join(', ')}.`);
}
