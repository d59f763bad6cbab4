import { engine, env } from '@tensorflow/tfjs-core';

/**
 * Imports tfjs's wasm backend and gives it the .wasm file that the build of this package contains, so that no bundler
 * has to find it and no server to serve it. A backend that the program has imported itself is left alone: it may have
 * files of its own, such as those that compute with threads.
 * @throws if the page may not compile WebAssembly
 */
export async function loadWasmBackend(): Promise<void> {
  if (isRegistered()) return;
  const { setWasmPaths } = await import('@tensorflow/tfjs-backend-wasm');
  const { default: binary } = await import('./wasm-binary.js');
  if (!binary || !(await env().getAsync('WASM_HAS_SIMD_SUPPORT'))) return;
  await checkCompilation();
  env().set('WASM_HAS_MULTITHREAD_SUPPORT', false); // threads need another file
  setWasmPaths(Object.fromEntries(fileNames.map((name) => [name, path])), true);
  answerFetch(Uint8Array.from(atob(binary), (character) => character.charCodeAt(0)));
}

/** The sentence for a wasm backend that does not start, in a program that has to find its files. */
export const wasmAdvice =
  "Serve the .wasm files of @tensorflow/tfjs-backend-wasm, and name their folder: setWasmPaths('/folder/') of that " +
  'package, before the backend starts. Or do not import that package: @alignprop/autograd-ext brings its own copy.';

const isRegistered = (): boolean => 'wasm' in engine().registryFactory;

const fileNames = [
  'tfjs-backend-wasm.wasm',
  'tfjs-backend-wasm-simd.wasm',
  'tfjs-backend-wasm-threaded-simd.wasm',
] as const;
const path = `alignprop:${fileNames[1]}`;

/** Answers tfjs's request for the file from memory. */
function answerFetch({ buffer }: Uint8Array): void {
  const { platform } = env();
  const fetch = platform.fetch.bind(platform);
  const response = { ok: true, arrayBuffer: () => Promise.resolve(buffer) } as unknown as Response;
  platform.fetch = (url, options) => (url === path ? Promise.resolve(response) : fetch(url, options));
}

/** Compiles an empty module: tfjs waits for ever for one that it may not compile. */
async function checkCompilation(): Promise<void> {
  const { WebAssembly: api } = globalThis as unknown as {
    WebAssembly: { compile(binary: Uint8Array): Promise<object> };
  };
  await api.compile(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0)).catch((cause: unknown) => {
    throw new Error(
      `useBackend: WebAssembly cannot be compiled here: ${(cause as Error).message}. ` +
        "Add 'wasm-unsafe-eval' to script-src of the page's Content-Security-Policy, or use another backend.",
      { cause },
    );
  });
}
