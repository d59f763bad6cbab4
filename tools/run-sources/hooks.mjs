// Bundles tfjs-core's gradients on import, as the build of autograd-ext does: Node cannot load them, an ES module in a
// CommonJS package.
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';

const gradients = '@tensorflow/tfjs-core/dist/register_all_gradients.js';
const url = 'alignprop:gradients';

/** @type {import('node:module').ResolveHook} */
export const resolve = (specifier, context, next) =>
  specifier === gradients ? { url, format: 'module', shortCircuit: true } : next(specifier, context);

/** @type {import('node:module').LoadHook} */
export const load = (from, context, next) =>
  from === url ? { source: bundleGradients(), format: 'module', shortCircuit: true } : next(from, context);

function bundleGradients() {
  const absWorkingDir = fileURLToPath(new URL('../..', import.meta.url));
  const { outputFiles } = buildSync({
    entryPoints: [gradients],
    absWorkingDir,
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'neutral',
    mainFields: ['module', 'main'],
  });
  return outputFiles[0].text;
}
