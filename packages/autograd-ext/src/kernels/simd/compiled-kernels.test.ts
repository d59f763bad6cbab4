import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { compiledKernels } from './compiled-kernels.js';

describe('compiledKernels', () => {
  it('is what the AssemblyScript sources compile to', async () => {
    const build = new URL('../../../assembly/build.mjs', import.meta.url);
    const { compile, target } = await import(build.href);
    expect(await readFile(target, 'utf8')).toBe(await compile());
  });

  it('needs nothing but tfjs memory: no data, globals, tables or start function', () => {
    const [types, imports, functions, exports, code] = [1, 2, 3, 7, 10];
    expect(sections(Buffer.from(compiledKernels, 'base64'))).toEqual([types, imports, functions, exports, code]);
  });
});

/** The numbers of a WebAssembly module's sections. https://webassembly.github.io/spec/core/binary/modules.html */
function sections(binary: Uint8Array): number[] {
  const numbers: number[] = [];
  for (let at = 8; at < binary.length;) {
    numbers.push(binary[at++]!);
    let [size, shift] = [0, 0];
    do {
      size |= (binary[at]! & 127) << shift;
      shift += 7;
    } while (binary[at++]! & 128); // LEB128
    at += size;
  }
  return numbers;
}
