import { bundlePage } from './bundle-page.js';
import { servePage } from './page-server.js';

/** The backends of tfjs that compute in Chromium. */
export const tfjsBackends = ['wasm', 'webgl', 'webgpu'];
/** Lets Chromium compute WebGL and WebGPU on SwiftShader where there is no GPU. */
const softwareAdapters = ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader', '--enable-unsafe-swiftshader'];

/** Names what backend-page.ts computes, and the files that it reads. */
export interface Computation {
  readonly chromium: string;
  /** The page's program, by `bundleBackends`. */
  readonly program: string;
  readonly backend: string;
  /** `kernels`, a part of the references, or `step`. */
  readonly compare: string;
  /** The cases of kernels, by a regular expression of their names; all by default. */
  readonly only?: string;
  /** The folder of files that it fetches. */
  readonly folder: string;
}

/** Bundles the page's program with backends of tfjs, which register themselves before it computes. */
export const bundleBackends = (names: readonly string[]): Promise<string> =>
  bundlePage(
    names
      .filter((name) => tfjsBackends.includes(name))
      .map((name) => `import '@tensorflow/tfjs-backend-${name}';\n`)
      .concat("import './backend-page.ts';")
      .join(''),
  );

/** Opens the page in Chromium and returns what it computes. @throws what the page throws */
export async function computeInChromium<T>({
  chromium,
  program,
  folder,
  ...options
}: Computation): Promise<{ readonly computed: T; readonly milliseconds: number }> {
  const query = new URLSearchParams(options).toString();
  const report = await servePage({ chromium, program, model: folder, query, flags: softwareAdapters });
  return JSON.parse(report.toString()) as { computed: T; milliseconds: number };
}
