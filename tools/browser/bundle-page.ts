import { builtinModules } from 'node:module';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

/** Bundles a page's program from the packages' sources. @param contents a module, as if it were in this folder */
export async function bundlePage(contents: string): Promise<string> {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: fileURLToPath(new URL('.', import.meta.url)) },
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'browser',
    conditions: ['@alignprop/source'],
    external: ['onnxruntime-node', '@huggingface/hub', 'nsfwjs/*', 'undici', 'node:*', ...builtinModules],
    logLevel: 'silent',
  });
  return outputFiles[0]!.text;
}
