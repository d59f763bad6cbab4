import { assemble } from './assembler.js';
import { gegluGradRow, gegluRow } from './geglu.js';
import { matmul } from './matmul.js';
import { columnAffine, columnSums, layerNormGradRow, layerNormRow } from './norm.js';
import { softmaxGradRow, softmaxRow } from './softmax.js';

/** The functions, on addresses in tfjs's memory. */
export interface Simd {
  matmul(
    a: number,
    aRow: number,
    aColumn: number,
    b: number,
    bRow: number,
    c: number,
    cRow: number,
    rows: number,
    columns: number,
    depth: number,
    accumulate: number,
  ): void;
  softmaxRow(row: number, visible: number, width: number): void;
  softmaxGradRow(p: number, dp: number, width: number, scale: number): void;
  gegluRow(value: number, gate: number, y: number, width: number): void;
  gegluGradRow(value: number, gate: number, dy: number, dvalue: number, dgate: number, width: number): void;
  columnSums(a: number, b: number, rows: number, channels: number, sums: number): void;
  columnAffine(x: number, none: number, y: number, rows: number, channels: number, coefficients: number): void;
  columnAffineGrad(x: number, dy: number, dx: number, rows: number, channels: number, coefficients: number): void;
  layerNormRow(x: number, weight: number, bias: number, y: number, width: number, eps: number): void;
  layerNormGradRow(x: number, weight: number, dy: number, dx: number, width: number, eps: number): void;
}

/** A WebAssembly.Memory (whose type is declared for browsers only, as is the rest of the API). */
export interface WasmMemory {
  readonly buffer: ArrayBuffer;
}

const { WebAssembly: api } = globalThis as unknown as {
  readonly WebAssembly: {
    validate(binary: Uint8Array): boolean;
    readonly Module: new (binary: Uint8Array) => object;
    readonly Instance: new (module: object, imports: object) => { readonly exports: unknown };
  };
};
const instances = new WeakMap<WasmMemory, { readonly simd?: Simd }>();

/** The functions on this memory; undefined where WebAssembly lacks SIMD, or the memory is shared between threads. */
export function simdOn(memory: WasmMemory): Simd | undefined {
  if (!instances.has(memory)) instances.set(memory, { simd: instantiate(memory) });
  return instances.get(memory)!.simd;
}

function instantiate(memory: WasmMemory): Simd | undefined {
  const binary = assemble([
    matmul,
    softmaxRow,
    softmaxGradRow,
    gegluRow,
    gegluGradRow,
    columnSums,
    columnAffine(false),
    columnAffine(true),
    layerNormRow,
    layerNormGradRow,
  ]);
  if (!(memory.buffer instanceof ArrayBuffer) || !api.validate(binary)) return undefined;
  return new api.Instance(new api.Module(binary), { env: { memory } }).exports as Simd;
}
