import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { defineConfig, type Options } from 'tsup';

/** The parts of a package's build. */
export interface PackageBuild {
  /** The files behind the package's exports. */
  readonly entry: readonly string[];
  /** Plain JavaScript programs that the package starts in processes of their own: files by their names in dist. */
  readonly programs?: Readonly<Record<string, string>>;
  /** Whether to build again for browsers, without the imports of Node's modules, into dist/browser. */
  readonly browser?: boolean;
}

/** The ESM builds of a package: dist for Node, with types and source maps, and dist/browser. */
export function packageConfig({ entry, programs = {}, browser = false }: PackageBuild) {
  // tsup leaves out what it does not find.
  const missing = [...entry, ...Object.values(programs)].filter((file) => !existsSync(file));
  if (missing.length > 0)
    throw new Error(`packageConfig: entry got ${missing.join(', ')}, expected files that exist in ${process.cwd()}.`);
  return defineConfig(browser ? [forNode(entry, programs), forBrowsers(programs)] : [forNode(entry, programs)]);
}

/** Shared chunks between the entries, so that a class exists once, and fewer files for Node to read. */
const forNode = (entry: readonly string[], programs: Readonly<Record<string, string>>): Options => ({
  entry: { ...Object.fromEntries(entry.map((file) => [nameInDist(file), file])), ...programs },
  format: 'esm',
  platform: 'node',
  target: 'node20',
  splitting: true,
  removeNodeProtocol: false,
  sourcemap: true,
  clean: ['!browser/**'],
  // tfjs-core's gradients are an ES module inside a CommonJS package: Node cannot load it, so it is bundled. Nothing
  // here may shake it out again: no `treeshake`, and autograd-ext lists the files with side effects.
  noExternal: ['@tensorflow/tfjs-core/dist/register_all_gradients.js'],
  esbuildPlugins: [wasmFile],
  dts: { entry: [...entry], compilerOptions: { ignoreDeprecations: '6.0', composite: false } },
});

/** The path of an entry in dist, without its extension. */
const nameInDist = (file: string): string => file.replace(/^src\/(.*)\.ts$/, '$1');

/** A file for each source, so that bundlers leave out those that a program does not use. */
const forBrowsers = (programs: Readonly<Record<string, string>>): Options => ({
  entry: [
    'src/**/*.{ts,js}',
    '!src/**/*.{test,d}.ts',
    '!src/**/__fixtures__/**',
    ...Object.values(programs).map((file) => `!${file}`),
  ],
  outDir: 'dist/browser',
  format: 'esm',
  platform: 'browser',
  target: 'es2022',
  bundle: false,
  clean: true,
  get esbuildPlugins() {
    return [wasmFile, withoutNode];
  },
});

type Plugin = NonNullable<Options['esbuildPlugins']>[number];

/** Puts tfjs's .wasm file into autograd-ext's wasm-binary.ts: as text, which gets no source map. */
const wasmFile: Plugin = {
  name: 'wasm-file',
  setup(build) {
    build.onLoad({ filter: wasmModule }, async () => ({ contents: await wasmBinary(), loader: 'text' }));
  },
};

/** The path of the module whose default export is tfjs's .wasm file, in base64. */
export const wasmModule = /[\\/]autograd-ext[\\/]src[\\/]wasm-binary\.ts$/;

/** Returns tfjs's .wasm file with SIMD, in base64. */
export async function wasmBinary(): Promise<string> {
  const path = '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm';
  return readFile(createRequire(import.meta.url).resolve(path), 'base64');
}

/** Replaces each import of a module of Node by an error: bundlers for browsers refuse such imports. */
const withoutNode: Plugin = {
  name: 'without-node',
  setup(build) {
    build.onLoad({ filter: sources }, async ({ path }) =>
      wasmModule.test(path) ? undefined : { loader: 'ts', contents: refuseNode(await readFile(path, 'utf8')) },
    );
  },
};

/** The paths of the packages' sources. */
export const sources = /[\\/]packages[\\/][^\\/]+[\\/]src[\\/].*\.[jt]s$/;

/** Replaces each import of a module of Node in a source by an error. */
export const refuseNode = (source: string): string =>
  source.replace(/(?<!typeof )import\('(node:[\w/]+|undici|@huggingface\/hub)'\)/g, refuse);

const refuse = (_: string, name: string): string =>
  `Promise.reject(new Error("'${name}' is needed, which browsers lack. Run this part in Node."))`;
