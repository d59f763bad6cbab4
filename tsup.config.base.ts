import { defineConfig } from 'tsup';

/** One ESM build per package: types, source maps, shared chunks between its entries so that a class exists once. */
export const packageConfig = (entry: string[]) =>
  defineConfig({
    entry,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    sourcemap: true,
    clean: true,
    // tfjs-core's gradients are an ES module inside a CommonJS package: Node cannot load it, so it is bundled.
    noExternal: ['@tensorflow/tfjs-core/dist/register_all_gradients.js'],
    dts: { compilerOptions: { ignoreDeprecations: '6.0', composite: false } },
  });
