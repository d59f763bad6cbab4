import { existsSync } from 'node:fs';
import { defineConfig } from 'tsup';

/** One ESM build per package: types, source maps, shared chunks between its entries so that a class exists once. */
export function packageConfig(entry: string[]) {
  const missing = entry.filter((file) => !existsSync(file)); // tsup leaves out what it does not find
  if (missing.length > 0)
    throw new Error(`packageConfig: entry got ${missing.join(', ')}, expected files that exist in ${process.cwd()}.`);
  return defineConfig({
    entry,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    splitting: true,
    removeNodeProtocol: false, // bundlers for browsers know what to leave out by it
    external: ['onnxruntime-node', 'koffi'], // optional: found when they are asked for
    sourcemap: true,
    clean: true,
    // tfjs-core's gradients are an ES module inside a CommonJS package: Node cannot load it, so it is bundled. Nothing
    // here may shake it out again: no `treeshake`, and autograd-ext lists the files with side effects.
    noExternal: ['@tensorflow/tfjs-core/dist/register_all_gradients.js'],
    dts: { compilerOptions: { ignoreDeprecations: '6.0', composite: false } },
  });
}
