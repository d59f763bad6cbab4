// Compiles the AssemblyScript of this folder to src/kernels/simd/compiled-kernels.ts, which is committed, so that the
// sources run without a build. Run it after every change here: npm run build:simd -w @alignprop/autograd-ext
import { Buffer } from 'node:buffer';
import asc from 'assemblyscript/asc';
import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

export const target = fileURLToPath(new URL('../src/kernels/simd/compiled-kernels.ts', import.meta.url));

/** Returns the text of compiled-kernels.ts. */
export async function compile() {
  let binary;
  const { error, stderr } = await asc.main(['index.ts', '--config', 'asconfig.json', '--outFile', 'kernels.wasm'], {
    readFile: (name) => readFile(new URL(name, import.meta.url), 'utf8').catch(() => null),
    writeFile: (_name, content) => (binary = content),
    listFiles: () => [],
  });
  if (error) throw new Error(`${error.message}\n${stderr.toString()}`, { cause: error });
  return `// Generated from packages/autograd-ext/assembly by its build.mjs. Do not edit.

/** The WebAssembly module of the SIMD kernels, in base64. */
export const compiledKernels = \`
${Buffer.from(binary)
  .toString('base64')
  .match(/.{1,120}/g)
  .join('\n')}
\`;
`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await writeFile(target, await compile());
