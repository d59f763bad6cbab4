import { defaultClientConditions, defineConfig, type Plugin } from 'vite';
import { refuseNode, sources, wasmBinary, wasmModule } from '../../tsup.config.base.js';

/** Serves the packages' sources as their builds for browsers have them; who installs the packages needs no plugin. */
const packageSources: Plugin = {
  name: 'package-sources',
  enforce: 'pre',
  load: async (id) => (wasmModule.test(id) ? `export default ${JSON.stringify(await wasmBinary())}` : undefined),
  transform: (code, id) => (sources.test(id) ? refuseNode(code) : undefined),
};

/** The headers by which a page may use threads of WebAssembly. */
const headers = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
};

export default defineConfig({
  root: import.meta.dirname,
  base: './',
  resolve: { conditions: ['@alignprop/source', ...defaultClientConditions] },
  plugins: [packageSources],
  worker: { format: 'es', plugins: () => [packageSources] },
  optimizeDeps: {
    entries: ['index.html', 'worker.ts'],
    exclude: ['onnxruntime-web'], // it finds its files by its own address
  },
  build: { target: 'es2022', chunkSizeWarningLimit: 3000 },
  server: { headers },
  preview: { headers },
});
